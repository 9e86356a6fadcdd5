// A model file that runs in the browser with onnxruntime-web. It also runs in Node, where `predict` is not available.

import * as ort from "../ort/ort.wasm.min.mjs";
import { mixChannels } from "./channels.js";
import { Listener } from "./listener.js";
import { Resampler } from "./resampler.js";
import { WakeListener } from "./wake-listener.js";

const BATCH_WINDOWS = 16;
const REASONS = new Map([["_silence_", "silence"], ["_unknown_", "unknown"]]);
const HOPS_PER_WINDOW = 10; // for clips longer than a window, as in harken/runtime/recognizer.py

ort.env.logLevel = "error";
ort.env.wasm.numThreads = 1; // more threads need HTTP headers that static hosts don't send
ort.env.wasm.wasmPaths = new URL("../ort/", import.meta.url).href;

/** Return a function that runs an ONNX file: float32 data and its sizes -> the data of the first output. */
export async function openNetwork(bytes) {
  const session = await ort.InferenceSession.create(bytes, { executionProviders: ["wasm"] });
  let lastRun = Promise.resolve(); // a session can run only one call at a time
  const run = (data, sizes) => {
    const result = lastRun.then(async () => {
      const outputs = await session.run({ [session.inputNames[0]]: new ort.Tensor("float32", data, sizes) });
      return outputs[session.outputNames[0]].data;
    });
    lastRun = result.catch(() => {});
    return result;
  };
  return { run, close: () => lastRun.then(() => session.release()) };
}

/**
 * Open a model file. The result has the functions of an engine: loadCard, predict, listen.
 *
 * `wake` is an opened model of a wake phrase, after which words count in a stream for `card.wake.command_s` seconds, or null.
 */
export async function openModel(card, bytes, wake = null) {
  const network = await openNetwork(bytes);
  const { labels, words, window, sample_rate, thresholds } = card;

  /** Run the model on windows and return the probabilities of each. */
  async function runModel(windows) {
    const input = new Float32Array(window * windows.length);
    windows.forEach((samples, i) => input.set(samples, i * window));
    const data = await network.run(input, [windows.length, window]);
    return windows.map((_, i) => Array.from(data.subarray(i * labels.length, (i + 1) * labels.length)));
  }

  const [silence] = await runModel([new Float32Array(window)]);

  /** Return the samples of a window. A clip that is shorter is padded at its end, and at its start by the model's lead-in. */
  function cutWindow(samples, start) {
    const cut = new Float32Array(window), part = samples.subarray(start, start + window);
    cut.set(part, Math.min(window - part.length, card.fields?.lead_in ?? 0));
    return cut;
  }

  /** Recognize the word in samples at the model's rate, of any length. Decides like Recognizer.predict in Python. */
  async function predictSamples(samples) {
    const lastStart = Math.max(0, samples.length - window), starts = [];
    for (let start = 0; start < lastStart; start += Math.max(1, Math.floor(window / HOPS_PER_WINDOW))) starts.push(start);
    starts.push(lastStart);
    let best = null, highest = -1; // the window in which a word is most probable
    for (let i = 0; i < starts.length; i += BATCH_WINDOWS) {
      for (const row of await runModel(starts.slice(i, i + BATCH_WINDOWS).map((start) => cutWindow(samples, start)))) {
        const wordProbability = Math.max(...row.filter((_, k) => words.includes(labels[k])));
        if (wordProbability > highest) [best, highest] = [row, wordProbability];
      }
    }
    const probability = Math.max(...best), label = labels[best.indexOf(probability)];
    const threshold = Object.hasOwn(thresholds, label) ? thresholds[label] : 0;
    const reason = REASONS.get(label) ?? (probability < threshold ? "unsure" : null);
    const probabilities = Object.fromEntries(labels.map((name, k) => [name, best[k]]));
    return { word: reason ? null : label, reason, label, probability, probabilities };
  }

  /** Recognize the word in an audio file, in any format that the browser can decode. */
  async function predict(file) {
    if (typeof OfflineAudioContext === "undefined")
      throw new Error("Audio files can be decoded only in a browser. Decode the file yourself, then call predictSamples.");
    const context = new OfflineAudioContext(1, 1, sample_rate);
    const audio = await context.decodeAudioData(await file.arrayBuffer()).catch(() => {
      throw new Error("Your browser can't read this file as audio. Use WAV, FLAC, OGG or MP3.");
    });
    return predictSamples(mixChannels(Array.from({ length: audio.numberOfChannels }, (_, i) => audio.getChannelData(i))));
  }

  const openListener = () => new Listener(card, async (samples) => (await runModel([samples]))[0], silence);

  /**
   * Detect words in a stream of samples at `rate` Hz.
   *
   * `handlers.event` gets each detected word and `handlers.error` each problem. `handlers.posteriors`, if given, gets the
   * smoothed probabilities after each hop, and with a wake phrase the time until which words count. `push` returns a promise
   * that resolves when its samples are processed.
   */
  async function listen(rate, handlers) {
    const resampler = new Resampler(rate, sample_rate), listener = openListener();
    const wakeResampler = wake && wake.card.sample_rate !== sample_rate ? new Resampler(rate, wake.card.sample_rate) : null;
    const wakeListener = wake ? new WakeListener(wake.openListener(), listener, card.wake.command_s) : null;
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
        queue = queue.then(() => open && processChunk(samples)).catch((error) => open && handlers.error({ error: error.message }));
        return queue;
      },
      setThresholds: (thresholds) => Object.assign(listener.thresholds, thresholds),
      close: () => { open = false; },
    };
  }

  return { card, loadCard: async () => card, predictSamples, predict, listen, openListener, close: network.close };
}
