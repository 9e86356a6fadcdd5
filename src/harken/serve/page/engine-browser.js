// The engine of an exported page: runs the model in the browser, so that audio never leaves the device.
// `harken export --to web` writes this file as engine.js. It also runs in Node, where `predict` is not available.

import * as ort from "../ort/ort.wasm.min.mjs";
import { mixChannels } from "./channels.js";
import { Listener } from "./listener.js";
import { Resampler } from "./resampler.js";
import { WakeListener } from "./wake-listener.js";

export const PRIVACY_NOTE = "The model runs in this page. Audio never leaves your device.";

const baseUrl = new URL("../", import.meta.url);
const BATCH_WINDOWS = 16;
const HOPS_PER_WINDOW = 10; // for clips longer than a window, as in harken/runtime/recognizer.py

ort.env.logLevel = "error";
ort.env.wasm.numThreads = 1; // more threads need HTTP headers that static hosts don't send
ort.env.wasm.wasmPaths = new URL("ort/", baseUrl).href;

/** Read a file of the export. */
async function readExported(name) {
  const url = new URL(name, baseUrl);
  if (url.protocol === "file:") { // in Node, where fetch can't read files
    const { readFile } = await import("node:fs/promises");
    return readFile(url);
  }
  const response = await fetch(url);
  if (!response.ok) throw new Error(`${name} is missing next to this page. Export the page again.`);
  return new Uint8Array(await response.arrayBuffer());
}

/** Open a model and its card. */
async function openModel(cardName, modelName) {
  const [cardBytes, modelBytes] = await Promise.all([readExported(cardName), readExported(modelName)]);
  const card = JSON.parse(new TextDecoder().decode(cardBytes));
  const session = await ort.InferenceSession.create(modelBytes, { executionProviders: ["wasm"] });
  const [silence] = await runModel(session, card, [new Float32Array(card.window)]);
  return { card, session, silence };
}

const loading = (async () => {
  const model = await openModel("card.json", "model.onnx");
  const wake = model.card.wake ? await openModel("wake-card.json", "wake.onnx") : null;
  return { ...model, wake };
})();

let lastRun = Promise.resolve(); // a session can run only one call at a time

/** Run the model on windows and return the probabilities of each. */
function runModel(session, { window, labels }, windows) {
  const input = new Float32Array(window * windows.length);
  windows.forEach((samples, i) => input.set(samples, i * window));
  const run = lastRun.then(async () => {
    const outputs = await session.run({ [session.inputNames[0]]: new ort.Tensor("float32", input, [windows.length, window]) });
    const { data } = outputs[session.outputNames[0]];
    return windows.map((_, i) => Array.from(data.subarray(i * labels.length, (i + 1) * labels.length)));
  });
  lastRun = run.catch(() => {});
  return run;
}

const openListener = ({ card, session, silence }) =>
  new Listener(card, async (window) => (await runModel(session, card, [window]))[0], silence);

/** Return the model card. */
export const loadCard = async () => (await loading).card;

/** Recognize the word in samples at the model's rate, of any length. Decides like Recognizer.predict in Python. */
export async function predictSamples(samples) {
  const { card, session } = await loading;
  const { labels, words, window, thresholds } = card;
  const lastStart = Math.max(0, samples.length - window), starts = [];
  for (let start = 0; start < lastStart; start += Math.max(1, Math.floor(window / HOPS_PER_WINDOW))) starts.push(start);
  starts.push(lastStart);
  let best = null, highest = -1; // the window in which a word is most probable
  for (let i = 0; i < starts.length; i += BATCH_WINDOWS) {
    const windows = starts.slice(i, i + BATCH_WINDOWS).map((start) => samples.subarray(start, start + window));
    for (const row of await runModel(session, card, windows)) {
      const wordProbability = Math.max(...row.filter((_, k) => words.includes(labels[k])));
      if (wordProbability > highest) [best, highest] = [row, wordProbability];
    }
  }
  const probability = Math.max(...best), label = labels[best.indexOf(probability)];
  const reason = { _silence_: "silence", _unknown_: "unknown" }[label] ?? (probability < (thresholds[label] ?? 0) ? "unsure" : null);
  const probabilities = Object.fromEntries(labels.map((name, k) => [name, best[k]]));
  return { word: reason ? null : label, reason, label, probability, probabilities };
}

/** Recognize the word in an audio file, in any format that the browser can decode. */
export async function predict(file) {
  const { card } = await loading;
  if (typeof OfflineAudioContext === "undefined")
    throw new Error("Audio files can be decoded only in a browser. Decode the file yourself, then call predictSamples.");
  const context = new OfflineAudioContext(1, 1, card.sample_rate);
  const audio = await context.decodeAudioData(await file.arrayBuffer()).catch(() => {
    throw new Error("Your browser can't read this file as audio. Use WAV, FLAC, OGG or MP3.");
  });
  return predictSamples(mixChannels(Array.from({ length: audio.numberOfChannels }, (_, i) => audio.getChannelData(i))));
}

/**
 * Detect words in a stream of samples at `rate` Hz.
 *
 * `handlers.event` gets each detected word and `handlers.error` each problem. `handlers.posteriors`, if given, gets the
 * smoothed probabilities after each hop. With a wake phrase, it also gets the time until which words count. `push` returns a promise that resolves when its samples are processed.
 */
export async function listen(rate, handlers) {
  const model = await loading, { card, wake } = model;
  const resampler = new Resampler(rate, card.sample_rate), listener = openListener(model);
  const isSameRate = wake?.card.sample_rate === card.sample_rate;
  const wakeResampler = wake && !isSameRate ? new Resampler(rate, wake.card.sample_rate) : null;
  const wakeListener = wake ? new WakeListener(openListener(wake), listener, card.wake.command_s) : null;
  let queue = Promise.resolve(), open = true;
  const processChunk = async (samples) => {
    const hopsBefore = listener.hops;
    const resampled = resampler.push(samples);
    const events = wakeListener
      ? await wakeListener.push(wakeResampler ? wakeResampler.push(samples) : resampled, resampled)
      : await listener.push(resampled);
    if (!open) return;
    events.forEach((event) => handlers.event(event));
    const { posteriors, confidence, at_s } = listener;
    if (listener.hops > hopsBefore) handlers.posteriors?.({ posteriors, confidence, at_s, until_s: wakeListener?.until_s ?? null });
  };
  return {
    push: (samples) => {
      queue = queue.then(() => open && processChunk(samples)).catch((error) => handlers.error({ error: error.message }));
      return queue;
    },
    setThresholds: (thresholds) => Object.assign(listener.thresholds, thresholds),
    close: () => { open = false; },
  };
}
