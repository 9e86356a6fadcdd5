// The list of what was heard: each to play again, to put right, and to keep as a labelled clip.

import { download, wav, zip } from "./wav.js";

const MOST = 200;
const speaker = `web${Math.random().toString(16).slice(2, 8)}`;

const $ = (id) => document.getElementById(id);
const percent = (value) => `${Math.round(100 * value)} %`;

export class Heard {
  constructor(labels) {
    this.#labels = labels;
    $("clear").onclick = () => {
      $("heard").replaceChildren();
      this.#items = [];
      this.#show();
    };
    $("keep").onclick = () => download(zip(this.#items.map((item) => [`corpus/${item.label}/${item.name}`, item.bytes()])), "corpus.zip");
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
    const bytes = new Uint8Array(await file.arrayBuffer());
    if (answer.error) this.#add("–", null, `${file.name}: ${answer.error}`, () => bytes);
    else if (answer.word) this.#add(answer.word, answer.word, `${percent(answer.probability)} · ${file.name}`, () => bytes);
    else {
      const why = { silence: "silence", unknown: "another word", unsure: `unsure: ${answer.label} at ${percent(answer.probability)}` };
      this.#add("none", answer.label, `${why[answer.reason]} · ${file.name}`, () => bytes);
    }
  }

  #add(word, label, note, bytes) {
    const item = { label, name: `${speaker}_nohash_${this.#count++}.wav`, bytes };
    const entry = document.createElement("li"), what = document.createElement("div");
    what.className = "what";
    what.append(Object.assign(document.createElement("b"), { textContent: word }), Object.assign(document.createElement("small"), { textContent: note, title: note }));
    entry.append(what);
    if (label) {
      const choice = document.createElement("select");
      choice.ariaLabel = `What ${word} really was`;
      choice.append(...this.#labels.map((name) => new Option(name, name, name === label, name === label)));
      choice.onchange = () => { item.label = choice.value; };
      const play = Object.assign(document.createElement("button"), { textContent: "▶", title: "Play", ariaLabel: `Play ${word}` });
      play.onclick = () => {
        URL.revokeObjectURL(this.#audio.src);
        this.#audio.src = URL.createObjectURL(new Blob([bytes()], { type: "audio/wav" }));
        this.#audio.play();
      };
      const keep = Object.assign(document.createElement("button"), { textContent: "↓", title: "Download", ariaLabel: `Download ${word}` });
      keep.onclick = () => download(bytes(), `${item.label}_${item.name}`);
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
  }
}
