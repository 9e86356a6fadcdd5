// Browser version of harken/runtime/isolation.py: measures whether a word stands alone, as a command does, or is
// surrounded by other sound, as a word in a sentence is. Both files must hold the same rules and constants.

import { round } from "./round.js";

const FRAME_S = 0.05, HISTORY_FRAMES = 60, QUIET_FRAMES = 36, AFTER_FRAMES = 3, RECENT_S = 0.8;
const NO_PENALTY_DB = 17, FULL_PENALTY_DB = 5, POWER_FLOOR = 1e-10;

export class Isolation {
  constructor(sampleRate, window, hop) {
    this.#frameLength = Math.max(1, round(FRAME_S * sampleRate));
    this.#windowFrames = Math.min(HISTORY_FRAMES, Math.max(AFTER_FRAMES, round(window / this.#frameLength)));
    const recent = Math.max(1, round((RECENT_S * sampleRate) / hop));
    const remembered = Math.max(recent + 1, round((HISTORY_FRAMES * FRAME_S * sampleRate) / hop));
    this.#silence = new Float64Array(remembered);
    this.#earlierHops = remembered - recent;
  }

  #frameLength; #windowFrames; #silence; #earlierHops;
  #powers = new Float64Array(HISTORY_FRAMES);
  #energy = 0;
  #filled = 0;

  /** Take more samples. A frame counts once it is full. */
  push(samples) {
    for (const x of samples) {
      this.#energy += x * x;
      if (++this.#filled < this.#frameLength) continue;
      this.#powers.copyWithin(0, 1);
      this.#powers[HISTORY_FRAMES - 1] = this.#energy / this.#frameLength;
      this.#energy = this.#filled = 0;
    }
  }

  /** Add the probability of _silence_ at a hop. Without it, all sound counts as speech. */
  addSilence(probability) {
    this.#silence.copyWithin(0, 1);
    this.#silence[this.#silence.length - 1] = probability;
  }

  /** Return the penalty for a word in the current window: 0 if it stands alone, 1 for sound before or after it, 2 for both. */
  penalty() {
    const loudest = Math.max(...this.#powers.subarray(-this.#windowFrames));
    const before = this.#powers.slice().sort()[QUIET_FRAMES - 1], after = Math.max(...this.#powers.subarray(-AFTER_FRAMES));
    const rises = [before, after].map((other) => 10 * Math.log10((loudest + POWER_FLOOR) / (other + POWER_FLOOR)));
    const penalties = rises.map((rise) => Math.min(1, Math.max(0, (NO_PENALTY_DB - rise) / (NO_PENALTY_DB - FULL_PENALTY_DB))));
    const silence = this.#silence.subarray(0, this.#earlierHops).reduce((sum, x) => sum + x, 0) / this.#earlierHops;
    return (penalties[0] + penalties[1]) * (1 - silence);
  }
}

/** Lower a probability by a number of logits. */
export function subtractLogits(probability, logits) {
  return probability / (probability + (1 - probability) * Math.exp(logits));
}
