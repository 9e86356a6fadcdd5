// Shows whether commands count now: "waiting for the wake phrase" or "listening for a command", with the time left.

import { $ } from "./dom.js";

/** Return the phrases in quotation marks. */
export const quotedPhrases = (wake) => wake.words.map((word) => `“${word}”`).join(" or ");

export class WakeState {
  /** `wake` is the part of the model card about the wake phrase, or null if words always count. */
  constructor(wake) {
    this.#wake = wake;
    this.hide();
  }

  #wake;

  /** Whether there is a wake phrase. */
  get isUsed() { return Boolean(this.#wake); }

  /** Show the state at a time in the stream. `until_s` is the time until which commands count, or null. */
  show(at_s, until_s) {
    if (!this.isUsed) return;
    $("wake").hidden = false;
    const counts = until_s !== null && until_s > at_s;
    // A screen reader announces this text when it changes. The time left changes too often for that.
    const text = counts ? "Listening for a command" : `Waiting for ${quotedPhrases(this.#wake)}`;
    if ($("wake-state").textContent !== text) $("wake-state").textContent = text;
    $("wake").classList.toggle("counts", counts);
    $("wake-left").textContent = counts ? `${Math.ceil(until_s - at_s)} s left` : "";
    $("wake-bar").style.transform = `scaleX(${counts ? Math.min(1, (until_s - at_s) / this.#wake.command_s) : 0})`;
  }

  /** Hide the state while the page does not listen. */
  hide() {
    $("wake").hidden = true;
    $("wake-state").textContent = "";
  }
}
