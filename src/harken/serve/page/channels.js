// Browser version of mix_channels in harken/audio/channels.py: averages the channels of a recording that agree with the
// first. Both files must hold the same rules and constants.

const DEAD = 10 ** -2.6; // a channel that is softer than the loudest by more than 26 dB does not contain the word
const MIN_CORRELATION = 0.3;

const product = (a, b) => a.reduce((sum, x, i) => sum + x * b[i], 0);

/** Mix channels, an array of Float32Array of the same length. */
export function mixChannels(channels) {
  const powers = channels.map((x) => product(x, x)), loudest = Math.max(...powers);
  const first = powers.findIndex((power) => power >= DEAD * loudest);
  const agrees = (x, i) => powers[i] > 0 && product(channels[first], x) >= MIN_CORRELATION * Math.sqrt(powers[first] * powers[i]);
  const chosen = channels.filter((x, i) => i === first || agrees(x, i));
  return chosen[0].map((_, i) => chosen.reduce((sum, x) => sum + x[i], 0) / chosen.length);
}
