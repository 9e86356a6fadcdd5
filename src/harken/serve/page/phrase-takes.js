// Takes of a phrase: finds the phrase in a recording, and mixes it with noise. Browser version of harken/enrollment/takes.py:
// both files must hold the same rules and constants. All recordings are at 16 kHz.

import { round } from "./round.js";

export const SAMPLE_RATE = 16_000;
export const TAKE_SAMPLES = 3 * SAMPLE_RATE, MAX_TAKES = 6; // as in harken/enrollment/teaching.py

const STEP = 1280; // samples from one embedding to the next
const INPUT_SAMPLES = 12_512; // samples in the input of one embedding
const LONGEST_PHRASE = 60; // characters
const SHORTEST_S = 0.2, LONGEST_S = 2; // duration of a phrase
const MIN_PEAK_DB = -50;
const CLIPPED = 0.999, MAX_CLIPPED_SAMPLES = 3; // as in take.js
const FRAME = 160; // samples
const SMOOTHING_FRAMES = 5;
const ROOM_PERCENTILE = 15;
const THRESHOLD_SHARE = 0.4;
const SPEECH_RANGE_DB = 30;
const PAUSE_FRAMES = 25;
const MIN_CONTRAST_DB = 6;
const FIRST_S = 0.24, LAST_S = 0.32; // the embeddings of a phrase end from here after its start to here after its end
const BEFORE_S = 1.2, AFTER_S = 1; // silence around a recording
const LEVEL_SAMPLES = 512;

export const SNR_DB = [5, 15, 10, 10]; // of the four kinds of noise
const TALK_SNR_DB = [8, 14, 20]; // of the talk behind a phrase

const seconds = (s) => Math.round(s * SAMPLE_RATE);

/** Return the number of samples that are needed to compute a number of embeddings. */
export const samplesOf = (embeddings) => INPUT_SAMPLES + STEP * (embeddings - 1);

/** Return the hours that a number of embeddings lasts. */
export const hoursOf = (embeddings) => (embeddings * STEP) / SAMPLE_RATE / 3600;

/** Return what is wrong with a phrase as a label, or "". */
export function phraseFault(phrase) {
  if (!phrase) return "Write the phrase that you will say.";
  if ([...phrase].length > LONGEST_PHRASE) return `Write the phrase in at most ${LONGEST_PHRASE} characters.`;
  if (!/[\p{L}\p{N}]/u.test(phrase)) return "Write the phrase with letters.";
  if (/[/\\:*?"<>|]/.test(phrase)) return 'Leave out / \\ : * ? " < > and |.'; // a folder's name cannot contain them
  const withoutJoiners = phrase.replace(/[\u200c\u200d]/g, ""); // letters of some alphabets need them
  if (/[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/u.test(withoutJoiners) || /^_.*_$/.test(phrase)) return "Use letters, digits, spaces and apostrophes.";
  return "";
}

/** Return a percentile of numbers in ascending order, interpolated between the nearest two. */
function percentile(sorted, percent) {
  const place = (percent / 100) * (sorted.length - 1), low = Math.floor(place);
  return sorted[low] + (place - low) * (sorted[Math.min(low + 1, sorted.length - 1)] - sorted[low]);
}

/** Return the level of each frame in dB, averaged over its neighbors. */
function levelsOf(samples) {
  const count = Math.floor(samples.length / FRAME), reach = Math.floor(SMOOTHING_FRAMES / 2);
  const levels = Array.from({ length: count }, (_, i) => {
    const power = samples.subarray(i * FRAME, (i + 1) * FRAME).reduce((sum, x) => sum + x * x, 0) / FRAME;
    return 10 * Math.log10(power + 1e-10);
  });
  return levels.map((_, i) => {
    let sum = 0;
    for (let k = i - reach; k <= i + reach; k++) sum += levels[Math.min(Math.max(k, 0), count - 1)];
    return sum / SMOOTHING_FRAMES;
  });
}

/**
 * Find the phrase in a recording.
 *
 * Returns {start, end} in samples, or {fault}: what is wrong with the recording and what to do better.
 */
export function findPhrase(samples) {
  const peak = samples.reduce((highest, x) => Math.max(highest, Math.abs(x)), 0);
  if (20 * Math.log10(peak + 1e-9) < MIN_PEAK_DB) return { fault: "Too quiet. Move closer to the microphone." };
  if (samples.filter((x) => Math.abs(x) >= CLIPPED).length > MAX_CLIPPED_SAMPLES)
    return { fault: "Too loud, so it clips. Speak more softly, or move back." };
  const levels = levelsOf(samples), sorted = Float64Array.from(levels).sort();
  const room = percentile(sorted, ROOM_PERCENTILE), top = sorted.at(-1);
  if (top - room < MIN_CONTRAST_DB) return { fault: "Nothing stands out from the noise. Speak louder, or find a quieter room." };
  const threshold = Math.max(room + THRESHOLD_SHARE * (top - room), top - SPEECH_RANGE_DB);
  let phrase = null;
  for (let i = 0, utterance = null; i < levels.length; i++) {
    if (levels[i] <= threshold) continue;
    if (!utterance || i - utterance.last > PAUSE_FRAMES) utterance = { first: i, prominence: 0 };
    utterance.last = i;
    utterance.prominence += levels[i] - threshold;
    if (!phrase || utterance.prominence > phrase.prominence) phrase = utterance;
  }
  const start = phrase.first * FRAME, end = (phrase.last + 1) * FRAME, length_s = (end - start) / SAMPLE_RATE;
  if (length_s < SHORTEST_S) return { fault: "Too short for a phrase. Say all of it." };
  if (phrase.last === levels.length - 1) return { fault: "Cut off at the end. Speak a little sooner." };
  if (phrase.first === 0) return { fault: "Cut off at the start. Wait until the page says “Speak now”." };
  if (length_s > LONGEST_S) return { fault: `Too long. A phrase may last ${LONGEST_S} seconds, with a pause before and after it.` };
  return { start, end };
}

/** Return a recording with silence before and after it, for the first and the last embedding. */
export function padded(samples) {
  const before = seconds(BEFORE_S), whole = new Float32Array(before + samples.length + seconds(AFTER_S));
  whole.set(samples, before);
  return whole;
}

/** Return the part of a padded recording that the embeddings of its phrase need. */
export function phraseSamples(whole, { start, end }) {
  const firstEnd = seconds(BEFORE_S) + start + seconds(FIRST_S), lastEnd = seconds(BEFORE_S) + end + seconds(LAST_S);
  const steps = Math.max(3, round((lastEnd - firstEnd) / STEP) + 1), from = firstEnd - samplesOf(1);
  return whole.subarray(from, from + samplesOf(steps));
}

/** Return the energy of the loudest 32 ms. */
function loudestEnergy(samples) {
  let loudest = 0;
  for (let i = 0; i + LEVEL_SAMPLES <= samples.length; i += LEVEL_SAMPLES)
    loudest = Math.max(loudest, samples.subarray(i, i + LEVEL_SAMPLES).reduce((sum, x) => sum + x * x, 0));
  return loudest + 1e-12;
}

/** Mix a recording with noise. The loudest 32 ms of the noise are `snr_db` below the loudest 32 ms of the recording. */
export function inNoise(samples, noise, snr_db) {
  const gain = Math.sqrt((loudestEnergy(samples) / loudestEnergy(noise)) * 10 ** (-snr_db / 10));
  const noisy = samples.map((x, i) => x + gain * noise[i]);
  const peak = noisy.reduce((highest, x) => Math.max(highest, Math.abs(x)), 1);
  return noisy.map((x) => x / peak);
}

/** Return a padded recording with talk behind its phrase, at each of three levels. The talk is the phrase itself, backwards. */
export function inTalk({ samples, start, end }) {
  const whole = padded(samples), size = end - start;
  return TALK_SNR_DB.map((snr_db, number) => {
    const gain = 10 ** (-snr_db / 20), shift = Math.floor((number * size) / TALK_SNR_DB.length);
    const noisy = whole.map((x, i) => x + gain * samples[end - 1 - ((i + shift) % size)]);
    const peak = noisy.reduce((highest, x) => Math.max(highest, Math.abs(x)), 1);
    return noisy.map((x) => x / peak);
  });
}
