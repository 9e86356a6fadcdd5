// The engine of an exported page: runs the exported model in the browser, so that audio never leaves the device.
// `harken export --to web` writes this file as engine.js. It also runs in Node, where `predict` is not available.

import { openModel } from "./onnx-model.js";

export const PRIVACY_NOTE = "The model runs in this page. Audio never leaves your device.";
export const TEACHING_HELP = ""; // visitors of an exported page can't change it

const baseUrl = new URL("../", import.meta.url);

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

/** Open a model of the export, with the model of its wake phrase if it has one. */
async function openExported(cardName, modelName) {
  const [cardBytes, modelBytes] = await Promise.all([readExported(cardName), readExported(modelName)]);
  const card = JSON.parse(new TextDecoder().decode(cardBytes));
  return openModel(card, modelBytes, card.wake ? await openExported("wake-card.json", "wake.onnx") : null);
}

const loading = openExported("card.json", "model.onnx");

// They are described in onnx-model.js.
export const loadCard = async () => (await loading).loadCard();
export const predictSamples = async (samples) => (await loading).predictSamples(samples);
export const predict = async (file) => (await loading).predict(file);
export const listen = async (rate, handlers) => (await loading).listen(rate, handlers);
