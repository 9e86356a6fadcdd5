// The main page: loads the model card, then connects the button, the file input and the recorder to the engine.

import * as pageEngine from "./engine.js";
import { $, create } from "./dom.js";
import { DetectionHistory, NO_KEYWORD } from "./history.js";
import { Microphone, unavailableReason } from "./microphone.js";
import { showModelCard } from "./model-card.js";
import { ProbabilityBars, sensitivityOf } from "./probability-bars.js";
import { setUpRecording } from "./record.js";
import { setUpTeaching } from "./teach.js";
import { Visualizer } from "./visualizer.js";
import { quotedPhrases, WakeState } from "./wake-state.js";

const FADE_AFTER_MS = 1500;
const MAX_HINT_WORDS = 12;
const TAUGHT_PRIVACY_NOTE = "The phrase that you taught is detected in this page. Audio never leaves your device.";
const IDLE_STATUS = "Your browser will ask for permission to use the microphone.";

// What detects: the page's own model, or a phrase that the user has taught.
const active = { engine: pageEngine, card: null, bars: null, wakeState: null };
let fadeTimer = 0;

function showStatus(text, { alert = false } = {}) {
  $("status").textContent = text;
  $("status").classList.toggle("alert", alert);
}

/** Show a detected word in large type. It fades after a moment. */
function showWord(word) {
  $("hint").hidden = true;
  $("word").textContent = word;
  $("word").classList.remove("faded");
  clearTimeout(fadeTimer);
  fadeTimer = setTimeout(() => $("word").classList.add("faded"), FADE_AFTER_MS);
}

/** Tell the user what to do first: say one of the words, or drop files where there is no microphone. */
function showHint({ words, wake }, canListen) {
  const shown = words.slice(0, MAX_HINT_WORDS).map((word) => create("li", { textContent: word }));
  if (words.length > MAX_HINT_WORDS) shown.push(create("li", { textContent: `and ${words.length - MAX_HINT_WORDS} more` }));
  const sayWord = wake ? `Say ${quotedPhrases(wake)}, then a word` : "Say a word";
  $("hint-title").textContent = canListen ? sayWord : "Drop an audio file";
  $("hint-words").replaceChildren(...shown);
}

/** Show the form for the access token instead of the rest of the page, and start again with the token. */
function askForToken() {
  const wasRejected = $("token").value !== "";
  document.documentElement.dataset.tokenRequired = "true";
  $("token-form").hidden = false;
  $("token-error").textContent = wasRejected ? "This token isn't valid. Check it, then try again." : "";
  $("token").focus();
  $("token-form").onsubmit = (event) => {
    event.preventDefault();
    pageEngine.setToken($("token").value.trim());
    delete document.documentElement.dataset.tokenRequired;
    $("token-form").hidden = true;
    start();
  };
}

/** Connect the button that starts and stops listening. */
function setUpListening(history) {
  const visualizer = new Visualizer($("waveform"), $("spectrogram")), button = $("listen");
  let live = null; // {microphone, stream} while listening

  function stop(problem = "") {
    live?.microphone.close();
    live?.stream.close();
    live = null;
    visualizer.stop();
    active.wakeState.hide();
    button.dataset.listening = "false";
    button.textContent = "Start listening";
    button.disabled = false;
    showStatus(problem || IDLE_STATUS, { alert: Boolean(problem) });
  }

  async function listen() {
    button.disabled = true;
    showStatus("Opening the microphone …");
    let stream = null;
    try {
      const microphone = await Microphone.open((chunk) => stream?.push(chunk), (problem) => { if (live) stop(problem); });
      // The stream starts a moment after the microphone, and its times count from there.
      let offset_s = 0;
      try {
        stream = await active.engine.listen(microphone.rate, {
          posteriors: ({ posteriors, confidence, at_s, until_s }) => {
            active.bars.show(posteriors, confidence);
            if (live) active.wakeState.show(at_s, until_s);
          },
          event: (event) => {
            showWord(event.word);
            history.addEvent(event, microphone.slice(offset_s + event.start_s, offset_s + event.end_s), microphone.rate);
          },
          error: ({ error }) => showStatus(error, { alert: true }),
          closed: (problem) => { if (live) stop(problem); },
        });
      } catch (error) {
        microphone.close();
        throw error;
      }
      offset_s = microphone.sampleCount / microphone.rate;
      live = { microphone, stream };
      microphone.checkRunning();
      stream.setThresholds(active.bars.thresholds());
      $("visualizer-empty").hidden = true;
      visualizer.start(microphone);
      button.dataset.listening = "true";
      button.textContent = "Stop listening";
      button.disabled = false;
      showStatus(active.wakeState.isUsed ? "" : "Listening …");
      active.wakeState.show(0, null);
    } catch (error) {
      stop(error.message);
    }
  }

  button.onclick = () => (live ? stop() : listen());
  return { setThresholds: (thresholds) => live?.stream.setThresholds(thresholds), stop: () => live && stop() };
}

/** Connect the file input and drag and drop. */
function setUpFiles(history) {
  /** Decide again at the thresholds on the page. The engine decided at the model's thresholds for clips. */
  function applyThresholds(prediction) {
    if (!active.card.words.includes(prediction.label)) return prediction; // another word, or silence
    const reason = prediction.probability < active.bars.clipThreshold(prediction.label) ? "unsure" : null;
    return { ...prediction, reason, word: reason ? null : prediction.label };
  }

  async function recognizeFiles(files) {
    for (const file of files) {
      const { card, engine } = active; // another model can be chosen meanwhile
      try {
        const found = await engine.predict(file);
        if (card !== active.card) throw new Error("The model changed. Drop the file again.");
        const prediction = applyThresholds(found);
        active.bars.show(card.labels.map((label) => prediction.probabilities[label]));
        showWord(prediction.word ?? NO_KEYWORD);
        await history.addFile(file, prediction);
      } catch (error) {
        history.addError(file, error.message);
      }
    }
  }

  $("files").onchange = () => recognizeFiles([...$("files").files]).then(() => { $("files").value = ""; });
  addEventListener("dragover", (event) => { event.preventDefault(); $("drop-zone").classList.add("active"); });
  addEventListener("dragleave", (event) => { if (!event.relatedTarget) $("drop-zone").classList.remove("active"); });
  addEventListener("drop", (event) => {
    event.preventDefault();
    $("drop-zone").classList.remove("active");
    recognizeFiles([...event.dataTransfer.files]);
  });
}

async function start() {
  let card;
  try {
    card = await pageEngine.loadCard();
  } catch (error) {
    $("model-line").textContent = "";
    if (error.name === "TokenRequired") askForToken();
    else showStatus(error.message, { alert: true });
    return;
  }
  const problem = unavailableReason(), history = new DetectionHistory(card.labels), listening = setUpListening(history);

  /** Detect with an engine's model from now on, and show its card. */
  function setModel(engine, modelCard) {
    listening.stop();
    if (active.engine !== pageEngine) active.engine.close();
    Object.assign(active, { engine, card: modelCard, wakeState: new WakeState(modelCard.wake) });
    active.bars = new ProbabilityBars(modelCard, (thresholds) => listening.setThresholds(thresholds));
    history.setLabels([...new Set([...modelCard.labels, ...(modelCard.wake?.words ?? [])])]);
    $("sensitivity").value = sensitivityOf(modelCard);
    $("model-line").textContent = engine === pageEngine ? `Keyword spotting with the model “${modelCard.name}”`
      : `Detecting “${modelCard.name}”, which you taught this page`;
    $("privacy").textContent = engine === pageEngine ? pageEngine.PRIVACY_NOTE : TAUGHT_PRIVACY_NOTE;
    showModelCard(modelCard);
    $("word").textContent = "";
    $("hint").hidden = false;
    showHint(modelCard, !problem);
  }

  const setSensitivity = () => {
    active.bars.setSensitivity(Number($("sensitivity").value));
    listening.setThresholds(active.bars.thresholds());
  };
  $("sensitivity").oninput = setSensitivity;
  $("reset-thresholds").onclick = () => { $("sensitivity").value = sensitivityOf(active.card); setSensitivity(); };
  setModel(pageEngine, card);
  setUpFiles(history);
  setUpRecording();
  setUpTeaching({ help: pageEngine.TEACHING_HELP, pageModel: card.name, onTaught: setModel, onBack: () => setModel(pageEngine, card) });
  $("listen").disabled = Boolean(problem);
  showStatus(problem || IDLE_STATUS, { alert: Boolean(problem) });
  document.documentElement.dataset.ready = "true";
}

start();
