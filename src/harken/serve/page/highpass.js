// Browser version of harken/audio/highpass.py: removes the constant offset and the low hum of a recording device, for
// measuring levels. Both files must hold the same filter.

const CUTOFF_HZ = 120;

export class HighPass {
  constructor(sampleRate) {
    const k = Math.tan((Math.PI * CUTOFF_HZ) / sampleRate);
    this.#gain = 1 / (1 + Math.SQRT2 * k + k * k);
    this.#a = 2 * (1 - k * k) * this.#gain;
    this.#b = (Math.SQRT2 * k - 1 - k * k) * this.#gain;
  }

  #gain; #a; #b;
  #x1 = 0; #x2 = 0; // the last two samples
  #y1 = 0; #y2 = 0; // the last two results

  /** Return the filtered samples, as many as were given. */
  push(samples) {
    return Float64Array.from(samples, (x) => {
      const y = this.#gain * (x - 2 * this.#x1 + this.#x2) + this.#a * this.#y1 + this.#b * this.#y2;
      [this.#x1, this.#x2, this.#y1, this.#y2] = [x, this.#x1, y, this.#y1];
      return y;
    });
  }
}
