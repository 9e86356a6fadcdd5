// Browser version of harken/runtime/sensitivity.py: one number from 0 to 1 that moves all thresholds of a model.

const DEFAULT_LOGITS = 3; // shift at 0 and 1 of a model without a measured trade-off
const LOGIT_MARGIN = 1e-6; // thresholds are shifted in logits, in which 0 and 1 do not exist
const STEPS = 10;

/** Return the shift of the thresholds in logits. `use` is "clips" or "stream". */
export function thresholdShift(card, use, sensitivity) {
  const shifts = card.fields?.sensitivity?.[use];
  if (!shifts) return DEFAULT_LOGITS * (1 - 2 * sensitivity);
  const place = sensitivity * STEPS, below = Math.min(STEPS - 1, Math.floor(place));
  return shifts[below] + (shifts[below + 1] - shifts[below]) * (place - below);
}

/** Return thresholds, by word, shifted by `logits`. A shift of 0 returns them unchanged. */
export function shiftThresholds(thresholds, logits) {
  if (logits === 0) return { ...thresholds };
  const shift = (threshold) => {
    const inside = Math.min(Math.max(threshold, LOGIT_MARGIN), 1 - LOGIT_MARGIN);
    return 1 / (1 + (1 / inside - 1) * Math.exp(-logits));
  };
  return Object.fromEntries(Object.entries(thresholds).map(([word, threshold]) => [word, shift(threshold)]));
}
