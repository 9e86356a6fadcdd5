// Learns a phrase from a few takes and writes a model file that detects it. Browser version of harken/enrollment/learn.py,
// phrase.py, calibration.py, metadata.py and bank.py: all of them must hold the same rules and constants.

import { createNode, floats, floatsOf, readModel, writeModel } from "./onnx-bytes.js";
import { openNetwork } from "./onnx-model.js";
import { hoursOf, inNoise, inTalk, padded, phraseSamples, SAMPLE_RATE, samplesOf, SNR_DB } from "./phrase-takes.js";

const DIMENSIONS = 96; // of an embedding
const FALSE_ALARMS_PER_HOUR = 0.5;
const REFERENCE_PER_HOUR = 60;
const BATCH_STEPS = 2048; // embeddings that are scored at once; the page can't react meanwhile
const TAIL_PEAKS = 80, TAIL_SHARE = 4;
const PEAK_STEPS = 25;
const USUAL_SCALE = 0.028, USUAL_PEAKS = 40;
const OUTLIER_PER_HOUR = 120, DOUBTFUL_PER_HOUR = 10;
const SHORT_PHRASE_S = 0.45;
const MIN_RECOGNIZED = 0.5;
const MAX_LENGTH_RATIO = 2.5;
const KINDS = 2; // groups of templates: for quiet places, and for talk behind the phrase. The phrase is detected by either
const HANDICAPS = [0, 0.5]; // subtracted from the logit of each group

const baseUrl = new URL("../teach/", import.meta.url);
const threshold = 1 / (1 + FALSE_ALARMS_PER_HOUR / REFERENCE_PER_HOUR);
const nextTask = () => new Promise((resolve) => setTimeout(resolve)); // lets the page draw
const mean = (values) => values.reduce((sum, x) => sum + x, 0) / values.length;

/** Read the files of harken/enrollment/teaching.py. `onProgress` gets how much has arrived, from 0 to 1. */
export async function loadTeachingFiles(onProgress = () => {}) {
  const responses = await Promise.all(["template.onnx", "bank.bin", "noise.bin"].map(async (name) => {
    const response = await fetch(new URL(name, baseUrl));
    if (!response.ok) throw new Error(`The page can't load teach/${name}. Check that its server is running, then try again.`);
    return response;
  }));
  const total = responses.reduce((sum, { headers }) => sum + Number(headers.get("Content-Length")), 0);
  let arrived = 0;
  const [templateBytes, bankBytes, noiseBytes] = await Promise.all(responses.map(async (response) => {
    const parts = [], reader = response.body.getReader();
    for (let part = await reader.read(); !part.done; part = await reader.read()) {
      parts.push(part.value);
      onProgress(Math.min(1, (arrived += part.value.length) / total));
    }
    return new Blob(parts).arrayBuffer();
  }));
  const template = readModel(new Uint8Array(templateBytes));
  const scale = new Float32Array(bankBytes, 0, DIMENSIONS), center = floatsOf(template.constants.get("speech_mean"));
  const quantized = new Int8Array(bankBytes, 4 * DIMENSIONS), talk = new Float32Array(quantized.length);
  for (let i = 0; i < talk.length; i++) talk[i] = quantized[i] * scale[i % DIMENSIONS] + center[i % DIMENSIONS];
  return { template, center, talk, noise: new Int16Array(noiseBytes) };
}

/** Subtract the mean of speech from embeddings and divide each by its length. */
function normalized(embeddings, center) {
  const rows = [];
  for (let i = 0; i < embeddings.length; i += DIMENSIONS) {
    const row = embeddings.slice(i, i + DIMENSIONS).map((x, k) => x - center[k]);
    const length = Math.max(1e-6, Math.sqrt(row.reduce((sum, x) => sum + x * x, 0)));
    rows.push(row.map((x) => x / length));
  }
  return rows;
}

/** Return the constants of templates, which are lists of normalized embeddings. */
function templateConstants(templates, speechWeight) {
  const count = templates.length, longest = Math.max(...templates.map((rows) => rows.length));
  const vectors = new Float32Array(DIMENSIONS * longest * count), weights = new Float32Array(longest * count);
  templates.forEach((rows, t) => rows.forEach((row, i) => {
    const step = longest - rows.length + i; // shorter templates are padded at their start
    weights[step * count + t] = speechWeight;
    row.forEach((x, k) => { vectors[(k * longest + step) * count + t] = x; });
  }));
  return [
    ["templates", [DIMENSIONS, longest * count], vectors],
    ["speech_weights", [1, 1, longest * count], weights],
    ["template_lengths", [1, count, 1], templates.map((rows) => rows.length)],
  ];
}

/** Return the template's nodes, with an alignment of `longest` steps in place of its single one. */
function networkNodes(template, longest) {
  const rows = Array.from({ length: longest }, (_, step) => `similarity_${step}`);
  const alignment = [createNode("Split", ["by_template"], rows, { axis: 1 })];
  let best = rows[0];
  for (const step of rows.keys()) {
    if (step === 0) continue;
    // The best alignment of the previous steps may end at this moment or at one of the two moments before it.
    alignment.push(createNode("MaxPool", [best], [`reached_${step}`], { kernel_shape: [3], pads: [2, 0], strides: [1] }));
    alignment.push(createNode("Add", [`reached_${step}`, rows[step]], [`aligned_${step}`]));
    best = `aligned_${step}`;
  }
  alignment.push(createNode("Div", [best, "template_lengths"], ["scores"]));
  return template.nodes.flatMap((node) => {
    if (node.outputs[0] === "similarity_0") return [];
    return node.outputs[0] === "scores" ? alignment : [node];
  });
}

/** Return the peaks of scores in descending order. A score within two seconds of a higher one is not a peak. */
function peaksOf(scores) {
  const blocks = [];
  for (let i = 0; i + PEAK_STEPS <= scores.length; i += PEAK_STEPS) {
    const block = scores.subarray(i, i + PEAK_STEPS), height = Math.max(...block);
    blocks.push({ height, position: i + block.indexOf(height) });
  }
  const hidden = (block, i) => {
    const before = blocks[i - 1], after = blocks[i + 1];
    return (after && after.position - block.position < PEAK_STEPS && block.height < after.height)
      || (before && block.position - before.position < PEAK_STEPS && block.height <= before.height);
  };
  return Float32Array.from(blocks.filter((block, i) => !hidden(block, i)), ({ height }) => height).sort().reverse();
}

/** Fit an exponential distribution to the highest peaks. */
function fitTail(peaks, hours, usualScale = USUAL_SCALE) {
  const count = Math.max(1, Math.min(TAIL_PEAKS, Math.floor(peaks.length / TAIL_SHARE)));
  const start = peaks[Math.min(count, peaks.length - 1)], heights = count * (mean(peaks.subarray(0, count)) - start);
  const scale = (heights + USUAL_PEAKS * usualScale) / (count + USUAL_PEAKS);
  return calibrationOf(start, scale, count / hours);
}

function calibrationOf(start, scale, per_hour) {
  return { start, scale, per_hour, slope: 1 / scale, offset: -start / scale - Math.log(per_hour / REFERENCE_PER_HOUR) };
}

/** Return the highest logit of the groups at each step, from a row of scores of each. */
function logitsOf(rows, calibrations) {
  return rows[0].map((_, i) => Math.max(...calibrations.map(({ slope, offset }, kind) => slope * rows[kind][i] + offset)));
}

/**
 * Return the calibration of each group from its row of scores in the bank.
 *
 * First, each is calibrated alone. Then both are changed alike, so that the rates of their false alarms add up to those that are
 * promised.
 */
function calibrate(rows, hours) {
  const alone = rows.map((row, kind) => {
    const { start, scale, per_hour } = fitTail(peaksOf(row), hours);
    return calibrationOf(start + HANDICAPS[kind] * scale, scale, per_hour);
  });
  const both = fitTail(peaksOf(logitsOf(rows, alone)), hours, 1);
  return alone.map(({ offset, scale }) => calibrationOf((both.start - offset) * scale, both.scale * scale, both.per_hour));
}

/** Return the upper 95 % confidence limit of the mean of a Poisson distribution, given a count (Garwood, 1936). */
function poissonUpper(count) {
  let low = count, high = 2 * count + 20;
  for (let i = 0; i < 60; i++) {
    const middle = (low + high) / 2;
    let term = Math.exp(-middle), total = term;
    for (let number = 1; number <= count; number++) total += term *= middle / number;
    [low, high] = total > 0.05 ? [middle, high] : [low, middle];
  }
  return high;
}

/** Return the mean of some rows of scores. */
function meanRow(rows) {
  return rows[0].map((_, i) => rows.reduce((sum, row) => sum + row[i], 0) / rows.length);
}

/** Return the mean of the rows of each kind of templates, without those of one take. */
function meanRows(rows, groups, without = -1) {
  const isOfKind = (kind) => (_, t) => groups[t].kind === kind && groups[t].take !== without;
  return Array.from({ length: KINDS }, (_, kind) => meanRow(rows.filter(isOfKind(kind))));
}

/** Opens the speech embedding: a function that turns samples into embeddings. */
async function openEmbedding(template) {
  const end = template.nodes.findIndex((node) => node.outputs[0] === "embeddings") + 1;
  const network = await openNetwork(writeModel({
    nodes: template.nodes.slice(0, end), constants: template.constants,
    inputs: { waveform: [1, "samples"] }, outputs: { embeddings: [1, "steps", DIMENSIONS] },
  }));
  return { embed: (samples) => network.run(samples, [1, samples.length]), close: network.close };
}

/** Opens the scorer: a function that returns the score of each template at each of a sequence of embeddings. */
async function openScorer(template, nodes, constants, count, longest) {
  const start = nodes.findIndex((node) => node.inputs.includes("embeddings"));
  const end = nodes.findIndex((node) => node.outputs[0] === "scores") + 1;
  const network = await openNetwork(writeModel({
    nodes: nodes.slice(start, end), constants,
    inputs: { embeddings: [1, "steps", DIMENSIONS] }, outputs: { scores: [1, count, "steps"] },
  }));
  const context = 2 * longest; // steps that can contribute to a score

  async function score(embeddings, onProgress = () => {}) {
    const steps = embeddings.length / DIMENSIONS, rows = Array.from({ length: count }, () => new Float32Array(steps));
    for (let start = 0; start < steps; start += BATCH_STEPS) {
      const first = Math.max(0, start - context), end = Math.min(steps, start + BATCH_STEPS), size = end - first;
      const found = await network.run(embeddings.subarray(first * DIMENSIONS, end * DIMENSIONS), [1, size, DIMENSIONS]);
      rows.forEach((row, t) => row.set(found.subarray(t * size + start - first, (t + 1) * size), start));
      onProgress(end / steps);
      await nextTask();
    }
    return rows;
  }
  return { score, close: network.close };
}

/**
 * Learn a phrase.
 *
 * @param phrase the phrase, which becomes a label
 * @param takes {name, samples, start, end} of each: `TAKE_SAMPLES` samples at 16 kHz, and the phrase in them, from `findPhrase`
 * @param files from `loadTeachingFiles`
 * @param onProgress gets how much is done, from 0 to 1
 * @return {bytes, card} of the model file, and what to expect: {falseAlarms, hours, upperLimit, recognized, notes}
 */
export async function enroll(phrase, takes, files, onProgress = () => {}) {
  const { template, center, talk, noise } = files;
  const embedding = await openEmbedding(template);
  const templates = [], groups = [], whole = []; // groups: the take and the kind of each template
  let scorer = null;
  try {
    for (const [number, take] of takes.entries()) {
      const { length } = take.samples;
      const noises = SNR_DB.map((_, kind) => noise.subarray((number * SNR_DB.length + kind) * length).subarray(0, length));
      const noisy = SNR_DB.map((snr_db, kind) => inNoise(take.samples, noises[kind], snr_db));
      for (const [kind, recordings] of [[take.samples, ...noisy].map(padded), inTalk(take)].entries()) {
        for (const samples of recordings) {
          templates.push(normalized(await embedding.embed(phraseSamples(samples, take)), center));
          groups.push({ take: number, kind });
        }
      }
      whole.push(await embedding.embed(padded(take.samples)));
      onProgress((0.2 * (number + 1)) / takes.length);
      await nextTask();
    }
    const count = templates.length, longest = Math.max(...templates.map((rows) => rows.length));
    const [speechWeight] = floatsOf(template.constants.get("speech_weights"));
    const constants = new Map([...template.constants,
      ...templateConstants(templates, speechWeight).map(([name, sizes, values]) => [name, floats(name, sizes, values)])]);
    const nodes = networkNodes(template, longest);
    scorer = await openScorer(template, nodes, constants, count, longest);
    const talkScores = await scorer.score(talk, (done) => onProgress(0.2 + 0.7 * done));
    const hours = hoursOf(talk.length / DIMENSIONS);
    const talkRows = meanRows(talkScores, groups), calibrations = calibrate(talkRows, hours);
    const takeScores = [];
    for (const embeddings of whole) takeScores.push(await scorer.score(embeddings));
    const { recognized, doubts } = leaveOneOut(takes, groups, talkScores, takeScores, hours);
    onProgress(1);

    const minLogit = logitOf(FALSE_ALARMS_PER_HOUR);
    const falseAlarms = peaksOf(logitsOf(talkRows, calibrations)).filter((peak) => peak >= minLogit).length;
    const calibration = calibrations.map(({ start, scale, per_hour }) => ({ start, scale, per_hour }));
    const labels = [phrase, "_unknown_", "_silence_"], thresholds = { [phrase]: threshold };
    const metadata = {
      ...template.metadata,
      labels,
      window: samplesOf(Math.ceil(1.25 * longest) + 2), // the phrase fits even if it is spoken a quarter more slowly
      thresholds,
      listener: { ...template.metadata.listener, thresholds },
      enrolled: [{
        phrase, takes: takes.length, voices: "", calibration, false_alarms: falseAlarms,
        hours: Number(hours.toFixed(3)), recognized,
      }],
    };
    const averages = Array.from({ length: KINDS }, (_, kind) => {
      const members = groups.filter((group) => group.kind === kind).length;
      return groups.map((group) => (group.kind === kind ? 1 / members : 0));
    });
    for (const [name, sizes, values] of [
      ["averages", [KINDS, count], averages.flat()],
      ["slopes", [KINDS], calibrations.map(({ slope }) => slope)],
      ["offsets", [KINDS], calibrations.map(({ offset }) => offset)],
    ]) constants.set(name, floats(name, sizes, values));
    const bytes = writeModel({
      nodes, constants, metadata,
      inputs: { waveform: ["clips", metadata.window] }, outputs: { probabilities: ["clips", labels.length] },
    });
    const { labels: _, thresholds: __, sample_rate, window, ...fields } = metadata;
    const card = { name: phrase, labels, words: [phrase], sample_rate, window, thresholds, listener: metadata.listener, fields };
    const notes = [...doubts, ...qualityNotes(takes, recognized)];
    return { bytes, card, falseAlarms, hours, upperLimit: poissonUpper(falseAlarms) / hours, recognized, notes };
  } finally {
    embedding.close();
    scorer?.close();
  }
}

/** Test each take with the templates of the other takes. */
function leaveOneOut(takes, groups, talkScores, takeScores, hours) {
  const doubts = [], outliers = [];
  for (const [number, { name }] of takes.entries()) {
    const calibrations = calibrate(meanRows(talkScores, groups, number), hours);
    const logit = Math.max(...logitsOf(meanRows(takeScores[number], groups, number), calibrations));
    const least = Math.log(threshold / (1 - threshold));
    if (logit < logitOf(OUTLIER_PER_HOUR)) outliers.push({ logit, name });
    else if (logit < Math.min(least, logitOf(DOUBTFUL_PER_HOUR))) {
      doubts.push(`${name} sounds little like the other takes: play it, and record it again if it is another word.`);
    } else if (logit < least) doubts.push(`${name} would be missed by a model of the other takes.`);
  }
  if (outliers.length === takes.length) throw new Error("The takes sound unlike each other. Say the same phrase in each, then try again.");
  outliers.sort((a, b) => a.logit - b.logit);
  if (outliers.length) throw new Error(`${outliers[0].name} sounds unlike the other takes. Record it again, then try again.`);
  return { recognized: 1 - doubts.length / takes.length, doubts };
}

function logitOf(falseAlarmsPerHour) {
  return -Math.log(falseAlarmsPerHour / REFERENCE_PER_HOUR);
}

/** Return possible problems, one sentence each. */
function qualityNotes(takes, recognized) {
  const notes = [], lengths = takes.map(({ start, end }) => (end - start) / SAMPLE_RATE).sort((a, b) => a - b);
  const middle = (lengths.length - 1) / 2, median = (lengths[Math.floor(middle)] + lengths[Math.ceil(middle)]) / 2;
  if (median < SHORT_PHRASE_S)
    notes.push(`The phrase lasts ${median.toFixed(1)} s. Short words are often detected inside other words: use three or more syllables.`);
  if (lengths.at(-1) > MAX_LENGTH_RATIO * lengths[0])
    notes.push(`The takes last from ${lengths[0].toFixed(1)} to ${lengths.at(-1).toFixed(1)} s. Each must contain the phrase alone.`);
  if (recognized < MIN_RECOGNIZED)
    notes.push("The phrase is too similar to common words, or its takes differ too much. Choose another, or record it again.");
  return notes;
}
