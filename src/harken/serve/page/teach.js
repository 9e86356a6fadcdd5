// Teaches the page a phrase: records and checks takes, learns from them in the browser, and offers the model file.

import { $, create } from "./dom.js";
import { download } from "./download.js";
import { Microphone, unavailableReason } from "./microphone.js";
import { findPhrase, MAX_TAKES, phraseFault, SAMPLE_RATE, TAKE_SAMPLES } from "./phrase-takes.js";
import { Resampler } from "./resampler.js";
import { encodeWav, toPcm } from "./wav.js";
import { createZip } from "./zip.js";

const MIN_TAKES = 3;
const TAKE_S = TAKE_SAMPLES / SAMPLE_RATE;
const FLUSH_S = 0.05; // silence that pushes the last samples out of the resampler
const BAR_PX = 3; // width of a bar of the waveform and of the gap after it
const LOADING_SHARE = 0.4; // of the progress bar

const wait = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const fileName = (phrase) => phrase.replace(/[^\p{L}\p{N}_]+/gu, "-").replace(/^-|-$/g, "");
const player = new Audio();

function showStatus(text, { alert = false } = {}) {
  $("teach-status").textContent = text;
  $("teach-status").classList.toggle("alert", alert);
}

/** Return the phrase as the user wrote it, in the form that harken compares labels in. */
const writtenPhrase = () => $("teach-phrase").value.trim().replace(/\s+/g, " ").normalize("NFC");

/** Record for the length of a take. `onStart` gets the sample rate when the user can speak, and `onChunk` the samples. */
async function recordSamples(onStart, onChunk) {
  const chunks = [];
  let recording = false; // chunks also arrive before the start and after the end
  const microphone = await Microphone.open((chunk) => {
    if (!recording) return;
    chunks.push(chunk);
    onChunk(chunk);
  });
  try {
    recording = true;
    onStart(microphone.rate);
    const start = microphone.sampleCount;
    while (microphone.sampleCount < start + (TAKE_S + FLUSH_S) * microphone.rate) {
      await wait(20);
      microphone.checkRunning();
    }
    const resampler = new Resampler(microphone.rate, SAMPLE_RATE);
    const parts = chunks.map((chunk) => resampler.push(chunk)), take = new Float32Array(TAKE_SAMPLES);
    let position = 0;
    for (const part of parts) {
      take.set(part.subarray(0, TAKE_SAMPLES - position), position);
      position = Math.min(TAKE_SAMPLES, position + part.length);
    }
    // Rounded as in a WAV file, so that the downloaded recordings are exactly what was learned from.
    return Float32Array.from(toPcm(take), (x) => x / 32768);
  } finally {
    recording = false;
    microphone.close();
  }
}

/** One take: a card with its waveform and its buttons. */
class TakeCard {
  /**
   * `mayRecord` is called with true before a recording, which starts only if it returns true, and with false after it.
   * `onRecorded` and `onDeleted` are called after the take was recorded or deleted.
   */
  constructor(number, { mayRecord, onRecorded, onDeleted }) {
    this.#mayRecord = mayRecord;
    this.#onRecorded = onRecorded;
    this.#number = number;
    this.#canvas.ariaHidden = "true";
    this.#meter = create("meter", { min: -60, max: 0, low: -40, high: -3, optimum: -12, value: -60, ariaLabel: "Input level" });
    this.#recordButton.onclick = () => this.record();
    this.#playButton = create("button", { type: "button", textContent: "▶", title: "Play", ariaLabel: `Play take ${number}` });
    this.#playButton.onclick = () => {
      URL.revokeObjectURL(player.src);
      player.src = URL.createObjectURL(new Blob([encodeWav(this.take.samples, SAMPLE_RATE)], { type: "audio/wav" }));
      player.play();
    };
    this.#deleteButton = create("button", { type: "button", textContent: "Delete", ariaLabel: `Delete take ${number}` });
    this.#deleteButton.onclick = () => {
      this.#show({ take: null, note: "" });
      this.#recordButton.focus();
      onDeleted(this);
    };
    const title = create("h3", { textContent: `Take ${number}` }, this.#note);
    const buttons = create("div", { className: "take-buttons" }, this.#recordButton, this.#playButton, this.#deleteButton);
    this.element = create("li", {}, title, create("div", { className: "take-picture" }, this.#canvas, this.#hint, this.#meter), buttons);
    this.#show({ take: null, note: "" });
  }

  #mayRecord;
  #onRecorded;
  #number;
  #canvas = create("canvas");
  #hint = create("p");
  #note = create("small");
  #meter;
  #recordButton = create("button", { type: "button" });
  #playButton;
  #deleteButton;
  #drawn = { samples: new Float32Array(0), rate: SAMPLE_RATE };
  take = null; // {name, samples, start, end} once it is recorded

  get name() {
    return `Take ${this.#number}`;
  }

  focus() {
    this.#recordButton.focus();
  }

  /** Record this take, check it and show it. */
  async record() {
    if (!this.#mayRecord(true)) return;
    let peak = 0, filled = 0;
    const earlier = this.take;
    this.#show({ take: null, note: "", hint: "Opening the microphone …", recording: true });
    try {
      const samples = await recordSamples((rate) => {
        this.#show({ take: null, note: "Speak now", hint: " ", recording: true });
        this.#drawn = { samples: new Float32Array(Math.round(TAKE_S * rate)), rate };
        showStatus(`${this.name}: speak now.`);
      }, (chunk) => {
        peak = Math.max(0.7 * peak, ...chunk.map(Math.abs));
        this.#meter.value = 20 * Math.log10(peak + 1e-9);
        this.#drawn.samples.set(chunk.subarray(0, this.#drawn.samples.length - filled), filled);
        filled = Math.min(this.#drawn.samples.length, filled + chunk.length);
        this.draw();
      });
      const { fault, start, end } = findPhrase(samples);
      if (fault) {
        this.#show({ take: null, note: "", hint: fault, failed: true });
        showStatus(`${this.name}: ${fault}`, { alert: true });
      } else {
        this.#showTake({ name: this.name, samples, start, end });
      }
    } catch (error) {
      if (earlier) this.#showTake(earlier); // the microphone failed, and not the take
      else this.#show({ take: null, note: "" });
      showStatus(error.message, { alert: true });
    }
    this.#mayRecord(false); // before the focus moves on to a button that is disabled meanwhile
    if (this.take) this.#onRecorded(this);
  }

  #showTake(take) {
    this.#show({ take, note: `${((take.end - take.start) / SAMPLE_RATE).toFixed(1)} s` });
  }

  #show({ take, note, hint = "", recording = false, failed = false }) {
    this.take = take;
    this.#drawn = { samples: take?.samples ?? new Float32Array(0), rate: SAMPLE_RATE };
    this.#note.textContent = note;
    this.#hint.textContent = hint || (take ? "" : "Not recorded yet");
    this.#hint.classList.toggle("alert", failed);
    this.#meter.hidden = !recording;
    this.#playButton.hidden = this.#deleteButton.hidden = !take;
    this.#recordButton.textContent = recording ? "Recording …" : take || failed ? "Record again" : "Record";
    this.#recordButton.ariaLabel = `${this.#recordButton.textContent}, take ${this.#number}`;
    this.element?.classList.toggle("recording", recording);
    this.draw();
  }

  /** Draw the waveform, with the phrase in the accent color. */
  draw() {
    const scale = devicePixelRatio || 1, canvas = this.#canvas;
    [canvas.width, canvas.height] = [Math.round(canvas.clientWidth * scale), Math.round(canvas.clientHeight * scale)];
    const context = canvas.getContext("2d"), style = getComputedStyle(document.documentElement);
    const { samples, rate } = this.#drawn, middle = canvas.height / 2;
    const bars = Math.floor(canvas.clientWidth / BAR_PX), perBar = (TAKE_S * rate) / bars;
    for (let i = 0; i < bars && i * perBar < samples.length; i++) {
      const from = Math.floor(i * perBar), part = samples.subarray(from, from + Math.ceil(perBar));
      const peak = part.reduce((highest, x) => Math.max(highest, Math.abs(x)), 0);
      const isPhrase = !this.take || (from >= this.take.start && from < this.take.end);
      const height = Math.max(scale, 0.95 * Math.sqrt(peak) * middle); // the square root makes soft voices visible
      context.fillStyle = style.getPropertyValue(isPhrase ? "--accent" : "--control");
      context.fillRect(i * BAR_PX * scale, middle - height, (BAR_PX - 1) * scale, 2 * height);
    }
  }
}

/**
 * Connect the section that teaches the page a phrase.
 *
 * @param pageModel name of the page's own model
 * @param help what to run so that this server's page can learn phrases, or "" to hide the section of a page that can't
 * @param onTaught gets the engine of the learned model and its card
 * @param onBack is called when the user goes back to the page's own model
 */
export function setUpTeaching({ help, pageModel, onTaught, onBack }) {
  const available = document.documentElement.dataset.teaching === "true", problem = unavailableReason();
  $("teach").hidden = !available && !help;
  $("teach-form").hidden = !available;
  $("teach-help").hidden = available;
  $("teach-help").replaceChildren("To add this to the page, start its server with: ", create("code", { textContent: help }));
  if (!available) return;

  $("teach-back").textContent = `Back to the model “${pageModel}”`;
  const cards = [];
  let loading = null; // the files to learn with
  let busy = false; // while a take is recorded or the phrase is learned
  let taught = null; // {phrase, bytes, takes} of the learned model
  const recorded = () => cards.filter((card) => card.take);

  const setBusy = (value) => {
    if (value && busy) return false;
    busy = value;
    $("teach-start").disabled = busy || Boolean(problem);
    return true;
  };

  function showCount(text) {
    const missing = MIN_TAKES - recorded().length;
    showStatus(missing > 0 ? `${text} ${missing} more to go.` : `${text} Ready to teach.`);
  }

  function addCard() {
    const card = new TakeCard(cards.length + 1, {
      mayRecord: (start) => {
        if (!setBusy(start)) return false;
        // Loading begins after the first take, so that it does not disturb the recording. The user sees problems later.
        if (!start) load().catch(() => {});
        return true;
      },
      onRecorded: ({ name }) => {
        showCount(`${name} recorded.`);
        (cards.find((other) => !other.take) ?? $("teach-start")).focus();
      },
      onDeleted: ({ name }) => showCount(`${name} deleted.`),
    });
    cards.push(card);
    $("teach-takes").append(card.element);
    card.draw();
    $("teach-add").hidden = cards.length >= MAX_TAKES;
    return card;
  }

  const showProgress = (share) => { $("teach-progress").value = share; };

  function load() {
    loading ??= (async () => {
      const { enroll, loadTeachingFiles } = await import("./enroll.js");
      return { enroll, files: await loadTeachingFiles((share) => showProgress(LOADING_SHARE * share)) };
    })().catch((error) => {
      loading = null; // so that the next try loads them again
      throw error;
    });
    return loading;
  }

  async function teach() {
    const phrase = writtenPhrase(), fault = phraseFault(phrase), takes = recorded().map((card) => card.take);
    if (fault) {
      showStatus(fault, { alert: true });
      $("teach-phrase").focus();
      return;
    }
    if (takes.length < MIN_TAKES) {
      showStatus(`Record ${MIN_TAKES - takes.length} more first.`, { alert: true });
      cards.find((card) => !card.take).focus();
      return;
    }
    if (!setBusy(true)) return;
    $("teach-progress").hidden = false;
    showProgress(0);
    try {
      showStatus("Loading what is needed to learn, about 26 MB …");
      const { enroll, files } = await load();
      showStatus(`Learning “${phrase}”. This takes a few seconds …`);
      const onProgress = (share) => showProgress(LOADING_SHARE + (1 - LOADING_SHARE) * share);
      const result = await enroll(phrase, takes, files, onProgress);
      const { openModel } = await import("./onnx-model.js");
      onTaught(await openModel(result.card, result.bytes), result.card);
      taught = { phrase, bytes: result.bytes, takes };
      showResult(phrase, result);
      showStatus(`Learned “${phrase}”.`);
      $("teach-listen").focus();
    } catch (error) {
      showStatus(error.message, { alert: true });
    } finally {
      $("teach-progress").hidden = true;
      setBusy(false);
      if (document.activeElement === document.body) $("teach-start").focus(); // it was disabled, so it lost the focus
    }
  }

  $("teach-form").onsubmit = (event) => {
    event.preventDefault();
    teach();
  };
  $("teach-add").onclick = () => addCard().focus();
  $("teach-listen").onclick = () => {
    $("listen").scrollIntoView({ block: "center" });
    $("listen").focus();
    if ($("listen").dataset.listening !== "true") $("listen").click();
  };
  $("teach-download").onclick = () => download(new Blob([taught.bytes]), `${fileName(taught.phrase)}.onnx`);
  $("teach-recordings").onclick = () => {
    const name = fileName(taught.phrase);
    download(createZip(taught.takes.map(({ samples }, i) => [`${name}/take${i + 1}.wav`, encodeWav(samples, SAMPLE_RATE)])), `${name}.zip`);
  };
  $("teach-back").onclick = () => {
    $("teach-result").hidden = true;
    showStatus("");
    $("teach-start").focus();
    onBack();
  };
  const drawAll = () => cards.forEach((card) => card.draw());
  addEventListener("resize", drawAll);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAll);
  while (cards.length < MIN_TAKES) addCard();
  setBusy(false);
  if (problem) showStatus(problem, { alert: true });
}

/** Show what to expect of the learned phrase, as `harken enroll` prints it. */
function showResult(phrase, { falseAlarms, hours, upperLimit, recognized, notes }) {
  $("teach-result-title").textContent = `The page now detects “${phrase}”`;
  const alarms = `${falseAlarms} false alarm${falseAlarms === 1 ? "" : "s"} in ${hours.toFixed(1)} hours of other people's speech: `
    + `at most ${upperLimit.toFixed(1)} per hour, at 95% confidence.`;
  const recognition = `${Math.round(100 * recognized)}% of the takes would be recognized, each by a model of the others.`;
  const items = [recognition, alarms, ...notes].map((text) => create("li", { textContent: text }));
  items.slice(2).forEach((item) => item.classList.add("alert"));
  $("teach-expect").replaceChildren(...items);
  $("teach-command").textContent = `harken listen --model ${fileName(phrase)}.onnx`;
  $("teach-result").hidden = false;
}
