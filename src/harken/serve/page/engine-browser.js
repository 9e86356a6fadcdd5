// The model in the browser: takes engine.js's place in what `harken export --to web` writes. Sound never leaves the page.

import * as ort from "../ort/ort.wasm.min.mjs";
import { Listener } from "./listener.js";
import { Resampler } from "./resample.js";

export const privacy = "The model runs in this page: sound never leaves your device.";

const base = new URL("../", import.meta.url);
const AT_ONCE = 16; // windows
const HOPS_PER_WINDOW = 10; // of the windows laid over a clip longer than one, as in harken/recognizer.py

ort.env.logLevel = "error";
ort.env.wasm.numThreads = 1; // more need headers that static hosts do not send
ort.env.wasm.wasmPaths = new URL("ort/", base).href;

const loading = (async () => {
  const read = async (name) => {
    const answer = await fetch(new URL(name, base));
    if (!answer.ok) throw new Error(`${name} is missing beside this page: export it again`);
    return answer;
  };
  const [about, model] = await Promise.all([read("card.json").then((a) => a.json()), read("model.onnx").then((a) => a.arrayBuffer())]);
  const session = await ort.InferenceSession.create(new Uint8Array(model), { executionProviders: ["wasm"] });
  const [silence] = await run(session, about, [new Float32Array(about.window)]);
  return { about, session, silence };
})();

let turn = Promise.resolve(); // a session answers one call at a time

/** Windows -> their probabilities. */
function run(session, { window, labels }, windows) {
  const input = new Float32Array(window * windows.length);
  windows.forEach((samples, i) => input.set(samples, i * window));
  const answer = turn.then(async () => {
    const found = await session.run({ [session.inputNames[0]]: new ort.Tensor("float32", input, [windows.length, window]) });
    const { data } = found[session.outputNames[0]];
    return windows.map((_, i) => Array.from(data.subarray(i * labels.length, (i + 1) * labels.length)));
  });
  turn = answer.catch(() => {});
  return answer;
}

export const card = async () => (await loading).about;

/** What is heard in samples at the model's rate, of any length: as Recognizer.predict decides it. */
export async function predictSamples(samples) {
  const { about, session } = await loading;
  const { labels, words, window, thresholds } = about;
  const last = Math.max(0, samples.length - window), starts = [];
  for (let start = 0; start < last; start += Math.max(1, Math.floor(window / HOPS_PER_WINDOW))) starts.push(start);
  starts.push(last);
  let best = null, most = -1;
  for (let i = 0; i < starts.length; i += AT_ONCE) {
    const windows = starts.slice(i, i + AT_ONCE).map((start) => samples.subarray(start, start + window));
    for (const row of await run(session, about, windows)) {
      const word = Math.max(...row.filter((_, k) => words.includes(labels[k])));
      if (word > most) [best, most] = [row, word];
    }
  }
  const probability = Math.max(...best), label = labels[best.indexOf(probability)];
  const reason = { _silence_: "silence", _unknown_: "unknown" }[label] ?? (probability < (thresholds[label] ?? 0) ? "unsure" : null);
  return { word: reason ? null : label, reason, label, probability, probabilities: Object.fromEntries(labels.map((name, k) => [name, best[k]])) };
}

/** What is heard in a file, of whatever format the browser reads. */
export async function predict(file) {
  const { about } = await loading;
  const context = new OfflineAudioContext(1, 1, about.sample_rate);
  const audio = await context.decodeAudioData(await file.arrayBuffer()).catch(() => {
    throw new Error("this browser cannot read it as sound: give WAV, FLAC, OGG or MP3");
  });
  const mono = new Float32Array(audio.length);
  for (let c = 0; c < audio.numberOfChannels; c++) audio.getChannelData(c).forEach((x, i) => { mono[i] += x / audio.numberOfChannels; });
  return predictSamples(mono);
}

/** Listen to a stream of samples at `rate` Hz; as engine.js does. */
export async function listen(rate, on) {
  const { about, session, silence } = await loading;
  const resampler = new Resampler(rate, about.sample_rate);
  const listener = new Listener(about, async (window) => (await run(session, about, [window]))[0], silence);
  let queue = Promise.resolve(), open = true;
  const hear = async (samples) => {
    const before = listener.hops;
    const events = await listener.push(resampler.push(samples));
    if (!open) return;
    events.forEach((event) => on.event(event));
    if (listener.hops > before) on.posteriors({ posteriors: listener.posteriors, confidence: listener.confidence });
  };
  return {
    push: (samples) => { queue = queue.then(() => open && hear(samples)).catch((error) => on.error({ error: error.message })); },
    retune: (thresholds) => Object.assign(listener.thresholds, thresholds),
    close: () => { open = false; },
  };
}
