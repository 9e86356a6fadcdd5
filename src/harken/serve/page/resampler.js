// Streaming sample-rate conversion with windowed-sinc interpolation.
// The method is described in Smith, "Digital Audio Resampling" (ccrma.stanford.edu/~jos/resample).

const ZERO_CROSSINGS = 24; // of the sinc, on each side
const KAISER_BETA = 9; // puts the stop band below -90 dB
const ROLL_OFF = 0.94; // share of the lower Nyquist frequency that passes; the slope has to end where aliasing would begin
const STEPS_PER_CROSSING = 512; // resolution of the filter table

/** Modified Bessel function of the first kind, order 0. */
function bessel(x) {
  let sum = 1, term = 1;
  for (let k = 1; term > 1e-12 * sum; k++) sum += term *= (x / (2 * k)) ** 2;
  return sum;
}

export class Resampler {
  constructor(sourceRate, targetRate) {
    this.#step = sourceRate / targetRate;
    const cutoff = ROLL_OFF * Math.min(1, targetRate / sourceRate);
    this.#reach = Math.ceil(ZERO_CROSSINGS / cutoff);
    this.#scale = STEPS_PER_CROSSING * cutoff;
    this.#table = Float64Array.from({ length: ZERO_CROSSINGS * STEPS_PER_CROSSING + 2 }, (_, i) => {
      const x = i / STEPS_PER_CROSSING, edge = 1 - (x / ZERO_CROSSINGS) ** 2;
      const sinc = x === 0 ? 1 : Math.sin(Math.PI * x) / (Math.PI * x);
      return edge <= 0 ? 0 : cutoff * sinc * (bessel(KAISER_BETA * Math.sqrt(edge)) / bessel(KAISER_BETA));
    });
    this.#buffer = new Float32Array(this.#reach); // silence before the stream
    this.#position = this.#reach;
    this.#sameRate = sourceRate === targetRate;
  }

  #step; #reach; #scale; #table; #buffer; #position; #sameRate;

  /** Take a chunk and return the output samples that are ready. The last `reach` samples wait for the next chunk. */
  push(chunk) {
    if (this.#sameRate) return chunk;
    const input = new Float32Array(this.#buffer.length + chunk.length);
    input.set(this.#buffer);
    input.set(chunk, this.#buffer.length);
    const output = [];
    for (; this.#position + this.#reach < input.length; this.#position += this.#step) {
      let sum = 0;
      for (let k = Math.ceil(this.#position - this.#reach); k <= this.#position + this.#reach; k++) {
        const place = Math.abs(k - this.#position) * this.#scale, low = Math.floor(place);
        if (low >= ZERO_CROSSINGS * STEPS_PER_CROSSING) continue;
        sum += (input[k] ?? 0) * (this.#table[low] + (place - low) * (this.#table[low + 1] - this.#table[low]));
      }
      output.push(sum);
    }
    const used = Math.max(0, Math.floor(this.#position) - this.#reach);
    this.#buffer = input.slice(used);
    this.#position -= used;
    return Float32Array.from(output);
  }
}
