// A stream brought to another rate: windowed-sinc interpolation (Smith, "Digital Audio Resampling", ccrma.stanford.edu/~jos/resample).

const ZEROS = 24; // zero crossings of the sinc on each side
const BETA = 9; // of the Kaiser window: stops below -90 dB
const ROLL_OFF = 0.94; // of the lower Nyquist frequency, so that the slope ends where aliases would begin
const STEPS = 512; // of the table, per zero crossing

function bessel(x) {
  let sum = 1, term = 1;
  for (let k = 1; term > 1e-12 * sum; k++) sum += term *= (x / (2 * k)) ** 2;
  return sum;
}

export class Resampler {
  constructor(from, to) {
    this.#step = from / to;
    const cut = ROLL_OFF * Math.min(1, to / from);
    this.#reach = Math.ceil(ZEROS / cut);
    this.#scale = STEPS * cut;
    this.#table = Float64Array.from({ length: ZEROS * STEPS + 2 }, (_, i) => {
      const x = i / STEPS, edge = 1 - (x / ZEROS) ** 2;
      return edge <= 0 ? 0 : cut * (x === 0 ? 1 : Math.sin(Math.PI * x) / (Math.PI * x)) * (bessel(BETA * Math.sqrt(edge)) / bessel(BETA));
    });
    this.#held = new Float32Array(this.#reach); // zeros before the stream
    this.#at = this.#reach;
    this.#same = from === to;
  }

  #step; #reach; #scale; #table; #held; #at; #same;

  /** Float32Array in, Float32Array out: what is ready; the last `reach` samples wait for what follows. */
  push(chunk) {
    if (this.#same) return chunk;
    const input = new Float32Array(this.#held.length + chunk.length);
    input.set(this.#held);
    input.set(chunk, this.#held.length);
    const output = [];
    for (; this.#at + this.#reach < input.length; this.#at += this.#step) {
      let sum = 0;
      for (let k = Math.ceil(this.#at - this.#reach); k <= this.#at + this.#reach; k++) {
        const place = Math.abs(k - this.#at) * this.#scale, low = Math.floor(place);
        if (low >= ZEROS * STEPS) continue;
        sum += (input[k] ?? 0) * (this.#table[low] + (place - low) * (this.#table[low + 1] - this.#table[low]));
      }
      output.push(sum);
    }
    const done = Math.max(0, Math.floor(this.#at) - this.#reach);
    this.#held = input.slice(done);
    this.#at -= done;
    return Float32Array.from(output);
  }
}
