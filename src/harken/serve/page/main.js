// The page: one button, and what follows from it.

import * as engine from "./engine.js";
import { Heard } from "./history.js";
import { Microphone, obstacle } from "./microphone.js";
import { offerRecording } from "./record.js";
import { Views } from "./views.js";

const NAMES = { _unknown_: "another word", _silence_: "silence" };
const SHOWN_MS = 1500;
const MOST_NAMED = 12; // words
const OPENS = "The button opens this device's microphone.";

const $ = (id) => document.getElementById(id);
const element = (name, textContent) => Object.assign(document.createElement(name), { textContent });

function say(text, alert = false) {
  $("status").textContent = text;
  $("status").classList.toggle("alert", alert);
}

/** A row for each class; those that are words have a threshold to drag. */
class Words {
  constructor(card, onChange) {
    this.#card = card;
    for (const label of card.labels) {
      const name = document.createElement("label"), bar = document.createElement("div"), value = document.createElement("span");
      name.textContent = NAMES[label] ?? label;
      bar.className = "bar";
      value.className = "value";
      const fill = bar.appendChild(document.createElement("i"));
      let slider = null;
      if (card.words.includes(label)) {
        // Any step: 0.9996 rounded to hundredths would be 1, and the word never heard.
        slider = bar.appendChild(Object.assign(document.createElement("input"), { type: "range", min: 0, max: 1, step: "any", id: `threshold-${label}` }));
        name.htmlFor = slider.id;
        slider.ariaLabel = `Threshold of ${label}`;
        slider.oninput = () => { slider.title = String(Number(Number(slider.value).toFixed(5))); onChange(this.thresholds()); };
      }
      this.#rows.push({ label, fill, bar, value, slider });
      $("words").append(name, bar, value);
    }
    this.reset();
  }

  #card;
  #rows = [];

  thresholds() {
    return Object.fromEntries(this.#rows.filter((row) => row.slider).map((row) => [row.label, Number(row.slider.value)]));
  }

  reset() {
    for (const row of this.#rows) if (row.slider) row.slider.value = row.slider.title = this.#card.listener.thresholds[row.label];
  }

  /** confidence: of the most probable one, where it is less than its probability */
  show(posteriors, confidence = 1) {
    const most = Math.max(...posteriors);
    this.#rows.forEach(({ fill, bar, value, slider }, i) => {
      fill.style.transform = `scaleX(${posteriors[i]})`;
      value.textContent = posteriors[i].toFixed(2);
      bar.classList.toggle("over", slider !== null && posteriors[i] === most && Math.min(most, confidence) >= Number(slider.value));
    });
  }
}

function anyOf(words) {
  const named = words.slice(0, MOST_NAMED);
  if (named.length < words.length) return `${named.join(", ")} …`;
  return words.length > 1 ? `${words.slice(0, -1).join(", ")} or ${words.at(-1)}` : words[0];
}

function showWord(word) {
  $("hint").hidden = true;
  $("word").textContent = word;
  $("word").classList.remove("past");
  clearTimeout(showWord.timer);
  showWord.timer = setTimeout(() => $("word").classList.add("past"), SHOWN_MS);
}

const FIRST = ["name", "parameters", "multiply_adds", "validation_accuracy", "corpus", "clips", "licence", "attribution", "command"];
const LAST = ["recipe"];

/** A field of the card as people read it. */
function readable(key, value) {
  if (key === "corpus" && Array.isArray(value)) { // names of folders, of which several may have the same
    const count = (name) => value.filter((other) => other === name).length;
    return [...new Set(value)].map((name) => (count(name) > 1 ? `${name} ×${count(name)}` : name)).join(", ");
  }
  if (Array.isArray(value)) return value.map((part) => readable(key, part)).join(key === "attribution" ? "\n" : ", ");
  if (value && typeof value === "object")
    return Object.entries(value).map(([name, part]) => `${name.replaceAll("_", " ")} ${readable(name, part)}`).join(" · ");
  if (typeof value !== "number") return String(value);
  if (/accuracy|found|confused|accepted/.test(key)) return `${(100 * value).toFixed(1)} %`;
  return Number.isInteger(value) ? value.toLocaleString("en") : String(Number(value.toPrecision(4)));
}

function showCard(card) {
  const place = (key) => (FIRST.includes(key) ? FIRST.indexOf(key) : 100 + LAST.indexOf(key));
  const facts = { name: card.name, window: `${card.window / card.sample_rate} s at ${card.sample_rate / 1000} kHz`, ...card.fields };
  const keys = Object.keys(facts).sort((a, b) => place(a) - place(b));
  const list = $("card").querySelector("dl");
  for (const key of keys) {
    const text = readable(key, facts[key]), value = element("dd", text);
    if (key === "command" && text.includes("\n")) {
      const lines = document.createElement("details");
      lines.append(element("summary", `${text.split("\n").length} lines`), element("pre", text));
      value.replaceChildren(lines);
    }
    list.append(element("dt", key.replaceAll("_", " ")), value);
  }
  $("model-line").textContent = `${card.name} hears ${card.words.join(", ")}`;
}

async function start() {
  let card;
  try {
    card = await engine.card();
  } catch (error) {
    if (!(engine.TokenNeeded && error instanceof engine.TokenNeeded)) {
      $("model-line").textContent = "";
      return say(error.message, true);
    }
    $("model-line").textContent = "";
    $("token-form").hidden = false;
    $("token-form").onsubmit = (event) => {
      event.preventDefault();
      engine.useToken($("token").value);
      $("token-form").hidden = true;
      start();
    };
    if ($("token").value) say(error.message, true);
    return;
  }
  showCard(card);
  $("privacy").textContent = engine.privacy;
  const heard = new Heard(card.labels), views = new Views($("wave"), $("spectrogram"));
  let live = null;
  const words = new Words(card, (thresholds) => live?.stream.retune(thresholds));
  $("reset").onclick = () => { words.reset(); live?.stream.retune(words.thresholds()); };

  function stop(why = "") {
    live?.microphone.close();
    live?.stream.close();
    live = null;
    views.stop();
    $("speak").ariaPressed = "false";
    $("speak").textContent = "Start listening";
    $("speak").disabled = false;
    say(why || OPENS, Boolean(why));
  }

  $("speak").onclick = async () => {
    if (live) return stop();
    $("speak").disabled = true;
    say("Opening the microphone …");
    let stream = null;
    try {
      const microphone = await Microphone.open((chunk) => stream?.push(chunk));
      // The stream begins somewhat after the microphone: its seconds are counted from here.
      let offset = 0;
      try {
        stream = await engine.listen(microphone.rate, {
          posteriors: ({ posteriors, confidence }) => words.show(posteriors, confidence),
          event: (event) => {
            showWord(event.word);
            heard.addEvent(event, microphone.cut(offset + event.start_s, offset + event.end_s), microphone.rate);
          },
          error: ({ error }) => say(error, true),
          closed: (why) => { if (live) stop(why); },
        });
      } catch (error) {
        microphone.close();
        throw error;
      }
      offset = microphone.samples / microphone.rate;
      live = { microphone, stream };
      stream.retune(words.thresholds());
      views.follow(microphone);
      $("speak").ariaPressed = "true";
      $("speak").textContent = "Stop listening";
      $("speak").disabled = false;
      say("Listening …");
    } catch (error) {
      stop(error.message);
    }
  };

  /** What an answer comes to at the marks as they stand, as a stream's does; the engine judged by thresholds for clips. */
  function atMarks(answer) {
    const mark = words.thresholds()[answer.label];
    if (mark === undefined) return answer; // another word, or silence
    const reason = answer.probability < mark ? "unsure" : null;
    return { ...answer, reason, word: reason ? null : answer.label };
  }

  async function judge(files) {
    for (const file of files) {
      const answer = await engine.predict(file).then(atMarks).catch((error) => ({ error: error.message }));
      if (answer.probabilities) {
        words.show(card.labels.map((label) => answer.probabilities[label]));
        showWord(answer.word ?? "none");
      }
      await heard.addFile(file, answer);
    }
  }

  $("files").onchange = () => judge([...$("files").files]).then(() => { $("files").value = ""; });
  addEventListener("dragover", (event) => { event.preventDefault(); $("drop").classList.add("over"); });
  addEventListener("dragleave", (event) => { if (!event.relatedTarget) $("drop").classList.remove("over"); });
  addEventListener("drop", (event) => {
    event.preventDefault();
    $("drop").classList.remove("over");
    judge([...event.dataTransfer.files]);
  });
  offerRecording();
  const why = obstacle();
  $("speak").disabled = Boolean(why);
  $("hint").textContent = why ? "Drop recordings below" : `Say ${anyOf(card.words)}`;
  say(why || OPENS, Boolean(why));
  document.documentElement.dataset.ready = "true";
}

start();
