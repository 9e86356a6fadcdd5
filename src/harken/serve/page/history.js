// The list of what was heard: each to play again, to put right, and to keep as a labelled clip.

import { download, wav, zip } from "./wav.js";

const MOST = 200;
const speaker = `web${Math.random().toString(16).slice(2, 8)}`;

const $ = (id) => document.getElementById(id);
const percent = (value) => `${Math.round(100 * value)} %`;
// Files that a corpus may hold, as harken/audio.py has them.
const TYPES = { wav: "audio/wav", flac: "audio/flac", ogg: "audio/ogg", opus: "audio/ogg", mp3: "audio/mpeg" };

export class Heard {
  constructor(labels) {
    this.#labels = labels;
    $("clear").onclick = () => {
      $("heard").replaceChildren();
      this.#items = [];
      this.#show();
    };
    $("keep").onclick = () => {
      const chosen = this.#items.filter((item) => item.label);
      download(zip(chosen.map((item) => [`corpus/${item.label}/${item.name}`, item.bytes()])), "corpus.zip");
    };
  }

  #labels;
  #items = [];
  #count = 0;
  #audio = new Audio();

  /** A word of the stream, with its samples at `rate` Hz. */
  addEvent(event, samples, rate) {
    this.#add(event.word, event.word, percent(event.confidence), () => wav(samples, rate));
  }

  /** What was heard in a file, or {error: why nothing}. */
  async addFile(file, answer) {
    if (answer.error) return this.#add("–", null, `${file.name}: ${answer.error}`);
    const bytes = new Uint8Array(await file.arrayBuffer()), ending = file.name.split(".").pop().toLowerCase();
    const why = { silence: "silence", unknown: "another word", unsure: `unsure: ${answer.label} at ${percent(answer.probability)}` };
    const note = answer.word ? percent(answer.probability) : why[answer.reason];
    // What was rejected may have been anything: whoever keeps it says what.
    this.#add(answer.word ?? "none", answer.word ?? "", `${note} · ${file.name}`, () => bytes, ending);
  }

  /** label: what to keep it as, "" for what is not known yet; null: there is nothing to keep. */
  #add(word, label, note, bytes, ending = "wav") {
    const kept = ending in TYPES, name = `${speaker}_nohash_${this.#count++}.${ending}`;
    const item = { label: kept ? label : "", name, bytes }, sound = () => new Blob([bytes()], { type: TYPES[ending] ?? "" });
    const entry = document.createElement("li"), what = document.createElement("div");
    what.className = "what";
    what.append(Object.assign(document.createElement("b"), { textContent: word }), Object.assign(document.createElement("small"), { textContent: note, title: note }));
    entry.append(what);
    if (label !== null) {
      const choice = document.createElement("select"), options = this.#labels.map((name) => new Option(name, name, name === label, name === label));
      choice.ariaLabel = `What ${word} really was`;
      choice.append(new Option(kept ? "choose …" : `no .${ending}`, ""), ...options);
      choice.title = kept ? "" : "a corpus holds WAV, FLAC, OGG, Opus and MP3";
      choice.disabled = !kept;
      choice.value = item.label;
      choice.onchange = () => { item.label = choice.value; this.#show(); };
      const play = Object.assign(document.createElement("button"), { textContent: "▶", title: "Play", ariaLabel: `Play ${word}` });
      play.onclick = () => {
        URL.revokeObjectURL(this.#audio.src);
        this.#audio.src = URL.createObjectURL(sound());
        this.#audio.play();
      };
      const keep = Object.assign(document.createElement("button"), { textContent: "↓", title: "Download", ariaLabel: `Download ${word}` });
      keep.onclick = () => download(sound(), item.label ? `${item.label}_${item.name}` : item.name);
      entry.append(choice, play, keep);
      this.#items.unshift(item);
    }
    $("heard").prepend(entry);
    while ($("heard").children.length > MOST) $("heard").lastElementChild.remove();
    this.#items.length = Math.min(this.#items.length, MOST);
    this.#show();
  }

  #show() {
    const any = $("heard").children.length > 0;
    $("heard-empty").hidden = any;
    $("heard-actions").hidden = !any;
    const left = this.#items.filter((item) => !item.label).length;
    $("keep").disabled = left === this.#items.length;
    $("left-out").textContent = left ? `${left} without a word ${left > 1 ? "are" : "is"} left out` : "";
  }
}
