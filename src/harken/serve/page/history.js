// The list of detections. Each one can be played, relabeled, and downloaded as a labeled clip.

import { $, create } from "./dom.js";
import { download } from "./download.js";
import { encodeWav } from "./wav.js";
import { createZip } from "./zip.js";

const MAX_ENTRIES = 200;
export const NO_KEYWORD = "no keyword";
// File formats that a corpus can hold, as in harken/audio/clip.py.
const MEDIA_TYPES = { wav: "audio/wav", flac: "audio/flac", ogg: "audio/ogg", opus: "audio/ogg", mp3: "audio/mpeg" };

// Each visit counts as a speaker of its own, so that a later split by speaker keeps its clips together.
const speaker = `web${Math.random().toString(16).slice(2, 8)}`;
const percent = (value) => `${Math.round(100 * value)}%`;

export class DetectionHistory {
  constructor(labels) {
    this.#labels = labels;
    $("clear-history").onclick = () => {
      $("history").replaceChildren();
      this.#clips = [];
      this.#update();
    };
    $("download-all").onclick = () => {
      const labeled = this.#clips.filter((clip) => clip.label);
      download(createZip(labeled.map((clip) => [`corpus/${clip.label}/${clip.name}`, clip.bytes()])), "corpus.zip");
    };
  }

  #labels;
  #clips = []; // newest first
  #nextNumber = 0;
  #player = new Audio();

  /** Offer these labels for the clips that are added from now on. */
  setLabels(labels) {
    this.#labels = labels;
  }

  /** Add a word that was detected in live audio, with its samples at `rate` Hz. */
  addEvent(event, samples, rate) {
    this.#addClip(event.word, event.word, percent(event.confidence), () => encodeWav(samples, rate));
  }

  /** Add the prediction for a file. */
  async addFile(file, prediction) {
    const bytes = new Uint8Array(await file.arrayBuffer()), extension = file.name.split(".").pop().toLowerCase();
    const reasons = {
      silence: "silence",
      unknown: "another word",
      unsure: `unsure: ${prediction.label} at ${percent(prediction.probability)}`,
    };
    const note = prediction.word ? percent(prediction.probability) : reasons[prediction.reason];
    // A rejected clip could contain anything, so it starts without a label and the user picks one.
    this.#addClip(prediction.word ?? NO_KEYWORD, prediction.word ?? "", `${note} · ${file.name}`, () => bytes, extension);
  }

  /** Add a file that could not be processed. */
  addError(file, message) {
    const note = create("small", { textContent: `${file.name}: ${message}` });
    const summary = create("div", { className: "summary" }, create("b", { textContent: "Error" }), note);
    this.#addEntry(create("li", { className: "failed" }, summary));
  }

  /** Add a clip to the list. `label` is the folder it goes to in the download, or "" if that is not known yet. */
  #addClip(word, label, note, bytes, extension = "wav") {
    const downloadable = Object.hasOwn(MEDIA_TYPES, extension), name = `${speaker}_nohash_${this.#nextNumber++}.${extension}`;
    const clip = { label: downloadable ? label : "", name, bytes };
    const toBlob = () => new Blob([bytes()], { type: downloadable ? MEDIA_TYPES[extension] : "" });

    const placeholder = new Option(downloadable ? "Label …" : `.${extension} file`, "");
    const options = this.#labels.map((option) => new Option(option, option, option === label, option === label));
    const labelSelect = create("select", {
      ariaLabel: `Correct label for ${word}`,
      title: downloadable ? "Correct label" : "A corpus can hold WAV, FLAC, OGG, Opus and MP3 files only",
      disabled: !downloadable,
    }, placeholder, ...options);
    labelSelect.value = clip.label;
    labelSelect.onchange = () => { clip.label = labelSelect.value; this.#update(); };

    const playButton = create("button", { textContent: "▶", title: "Play", ariaLabel: `Play ${word}` });
    playButton.onclick = () => {
      URL.revokeObjectURL(this.#player.src);
      this.#player.src = URL.createObjectURL(toBlob());
      this.#player.play();
    };
    const downloadButton = create("button", { textContent: "↓", title: "Download", ariaLabel: `Download ${word}` });
    downloadButton.onclick = () => download(toBlob(), clip.label ? `${clip.label}_${clip.name}` : clip.name);

    const small = create("small", { textContent: note, title: note });
    const summary = create("div", { className: "summary" }, create("b", { textContent: word }), small);
    clip.entry = create("li", {}, summary, labelSelect, playButton, downloadButton);
    this.#clips.unshift(clip);
    this.#addEntry(clip.entry);
  }

  #addEntry(entry) {
    $("history").prepend(entry);
    while ($("history").children.length > MAX_ENTRIES) $("history").lastElementChild.remove();
    this.#clips = this.#clips.filter((clip) => clip.entry.isConnected);
    this.#update();
  }

  #update() {
    const empty = $("history").children.length === 0;
    $("history-empty").hidden = !empty;
    $("history-actions").hidden = empty;
    const unlabeled = this.#clips.filter((clip) => !clip.label).length;
    $("download-all").disabled = unlabeled === this.#clips.length;
    $("unlabeled-note").textContent = unlabeled
      ? `${unlabeled} ${unlabeled > 1 ? "clips have" : "clip has"} no label and won't be in the download.` : "";
  }
}
