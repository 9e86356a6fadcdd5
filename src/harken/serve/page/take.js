// Checks a take of a word: returns the second that contains it, or says what was wrong.
// harken/audio/take.py holds the same rules and the same texts.

import { HighPass } from "./highpass.js";

const MIN_PEAK_DB = -42; // a voice at arm's length peaks at -30 dB or above
const CLIPPED = 0.999, MAX_CLIPPED_SAMPLES = 3;
const FRAME_S = 0.01;
const POWER_RANGE = 1000; // 30 dB: anything softer than that is room noise

/** Check samples at `rate` Hz. Return {clip: Float32Array of one second}, or {fault: what to do better}. */
export function checkTake(samples, rate) {
  // Relative to the first sample: otherwise the filter would take an offset for a sound at the start.
  const withoutHum = new HighPass(rate).push(samples.map((x) => x - samples[0]));
  const peak = withoutHum.reduce((highest, x) => Math.max(highest, Math.abs(x)), 0);
  if (20 * Math.log10(peak + 1e-9) < MIN_PEAK_DB) return { fault: "too quiet: move closer to the microphone" };
  if (samples.filter((x) => Math.abs(x) >= CLIPPED).length > MAX_CLIPPED_SAMPLES)
    return { fault: "too loud, so it clips: speak more softly, or move back" };
  const step = Math.round(FRAME_S * rate), powers = [];
  for (let i = 0; i + step <= samples.length; i += step)
    powers.push(withoutHum.subarray(i, i + step).reduce((sum, x) => sum + x * x, 0) / step);
  const loudest = Math.max(...powers);
  const loud = powers.map((power) => power > loudest / POWER_RANGE);
  const first = loud.indexOf(true), last = loud.lastIndexOf(true);
  if (last === powers.length - 1) return { fault: "cut off at the end: speak a little sooner" };
  if (first === 0) return { fault: "cut off at the start: speak a little later" };
  const length = Math.round(rate);
  if ((last + 1 - first) * step > length) return { fault: "longer than a second, or the room is noisy: say one short word" };
  const middle = Math.floor(((first + last + 1) * step) / 2);
  const start = Math.max(0, Math.min(samples.length - length, middle - Math.floor(length / 2)));
  return { clip: samples.slice(start, start + length) };
}
