// One bar for each class. Bars of words have a threshold that the user can drag.

import { $, create } from "./dom.js";
import { shiftThresholds, thresholdShift } from "./sensitivity.js";

const DEFAULT_SENSITIVITY = 0.5;

/** Return the sensitivity that the thresholds of a card are for. */
export function sensitivityOf(card) {
  return card.sensitivity ?? DEFAULT_SENSITIVITY;
}

const CLASS_NAMES = { _unknown_: "another word", _silence_: "silence" };

export class ProbabilityBars {
  /** `onThresholdChange` gets the thresholds of all words whenever the user moves one. */
  constructor(card, onThresholdChange) {
    this.#card = card;
    $("probabilities").replaceChildren();
    for (const label of card.labels) {
      const name = create("label", { textContent: CLASS_NAMES[label] ?? label });
      const fill = create("i"), bar = create("div", { className: "bar" }, fill), value = create("span", { className: "probability" });
      let slider = null;
      if (card.words.includes(label)) {
        // Without a fixed step: a threshold of 0.9996, rounded to hundredths, would become 1 and block the word.
        slider = create("input", { type: "range", min: 0, max: 1, step: "any" });
        slider.id = `threshold-${label}`;
        slider.ariaLabel = `Threshold for ${label}`;
        slider.oninput = () => { describe(slider); this.#moved.add(label); onThresholdChange(this.thresholds()); };
        name.htmlFor = slider.id;
        bar.append(slider);
      }
      this.#rows.push({ label, fill, bar, value, slider });
      $("probabilities").append(name, bar, value);
    }
    this.setSensitivity(sensitivityOf(card));
  }

  #card;
  #clipThresholds;
  #moved = new Set(); // words whose mark the user has dragged
  #rows = [];

  /** Return the current thresholds, by word. */
  thresholds() {
    return Object.fromEntries(this.#rows.filter((row) => row.slider).map((row) => [row.label, Number(row.slider.value)]));
  }

  /** Return the threshold that decides for a word in a file: the mark that the user has dragged, else the model's for clips. */
  clipThreshold(label) {
    return this.#moved.has(label) ? this.thresholds()[label] : this.#clipThresholds[label] ?? 0;
  }

  /** Move all thresholds to those of a sensitivity, 0 to 1. */
  setSensitivity(sensitivity) {
    const shift = (use) => thresholdShift(this.#card, use, sensitivity) - thresholdShift(this.#card, use, sensitivityOf(this.#card));
    const shifted = (thresholds, use) => shiftThresholds(thresholds, shift(use));
    const ofStream = shifted(this.#card.listener.thresholds, "stream");
    this.#clipThresholds = shifted(this.#card.thresholds, "clips");
    this.#moved.clear();
    for (const { label, slider } of this.#rows) {
      if (!slider) continue;
      slider.value = ofStream[label];
      describe(slider);
    }
  }

  /**
   * Show probabilities, in the order of the labels.
   *
   * `confidence` is compared with the threshold of the most probable word. In live audio it can be lower than the word's
   * probability, because isolation reduces it.
   */
  show(probabilities, confidence = 1) {
    const highest = Math.max(...probabilities);
    this.#rows.forEach(({ fill, bar, value, slider }, i) => {
      fill.style.transform = `scaleX(${probabilities[i]})`;
      value.textContent = probabilities[i].toFixed(2);
      const detected = slider !== null && probabilities[i] === highest && Math.min(highest, confidence) >= Number(slider.value);
      bar.classList.toggle("detected", detected);
    });
  }
}

function describe(slider) {
  slider.title = `Threshold: ${Number(Number(slider.value).toFixed(5))}`;
}
