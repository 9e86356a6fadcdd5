// A take of a word: the second that holds it, or why it is no good. The rules are those of harken/take.py.

const QUIETEST_DB = -42; // a voice at arm's length peaks at -30 dB or above
const CLIPPED = 0.999, MOST_CLIPPED = 3;
const FRAME_S = 0.01;

/** Samples at `rate` Hz -> {clip: Float32Array of one second} or {fault: why not}. */
export function judgeTake(samples, rate) {
  const peak = samples.reduce((most, x) => Math.max(most, Math.abs(x)), 0);
  if (20 * Math.log10(peak + 1e-9) < QUIETEST_DB) return { fault: "too quiet: nearer to the microphone" };
  if (samples.filter((x) => Math.abs(x) >= CLIPPED).length > MOST_CLIPPED) return { fault: "too loud, it clips: softer, or further away" };
  const step = Math.round(FRAME_S * rate), power = [];
  for (let i = 0; i + step <= samples.length; i += step) power.push(samples.subarray(i, i + step).reduce((sum, x) => sum + x * x, 0) / step);
  const loudest = Math.max(...power);
  const loud = power.map((p) => p > loudest / 1000); // within 30 dB
  const first = loud.indexOf(true), last = loud.lastIndexOf(true);
  if (last === power.length - 1) return { fault: "cut off at its end: speak a little sooner" };
  const length = Math.round(rate);
  if ((last + 1 - first) * step > length) return { fault: "longer than a second, or the room is loud: one short word" };
  const middle = Math.floor(((first + last + 1) * step) / 2);
  const start = Math.max(0, Math.min(samples.length - length, middle - Math.floor(length / 2)));
  return { clip: samples.slice(start, start + length) };
}
