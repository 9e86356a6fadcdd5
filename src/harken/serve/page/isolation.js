// harken/isolation.py for a browser: whether a word stands alone, as a command does, or in the midst of other sound.

const FRAME_S = 0.05, FRAMES = 60, QUIET_FRAMES = 36, AFTER_FRAMES = 3, ALONE_DB = 17, AMONG_DB = 5, FLOOR = 1e-10;

export class Isolation {
  constructor(sample_rate, window) {
    this.#frame = Math.max(1, Math.round(FRAME_S * sample_rate));
    this.#window = Math.min(FRAMES, Math.max(AFTER_FRAMES, Math.round(window / this.#frame)));
  }

  #frame; #window;
  #powers = new Float64Array(FRAMES);
  #energy = 0;
  #filled = 0;

  push(samples) {
    for (const x of samples) {
      this.#energy += x * x;
      if (++this.#filled < this.#frame) continue;
      this.#powers.copyWithin(0, 1);
      this.#powers[FRAMES - 1] = this.#energy / this.#frame;
      this.#energy = this.#filled = 0;
    }
  }

  /** How much speaks against a word: 0 when it stands alone, 1 for sound before it or after it, 2 for both. */
  doubt() {
    const loudest = Math.max(...this.#powers.subarray(-this.#window));
    const before = this.#powers.slice().sort()[QUIET_FRAMES - 1], after = Math.max(...this.#powers.subarray(-AFTER_FRAMES));
    const rises = [before, after].map((other) => 10 * Math.log10((loudest + FLOOR) / (other + FLOOR)));
    return rises.reduce((sum, rise) => sum + Math.min(1, Math.max(0, (ALONE_DB - rise) / (ALONE_DB - AMONG_DB))), 0);
  }
}

/** A probability with so many logits less. */
export function lowered(confidence, logits) {
  return confidence / (confidence + (1 - confidence) * Math.exp(logits));
}
