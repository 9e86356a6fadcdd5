// Recording words of one's own: prompts, a level, takes that are judged at once, and a corpus folder in a zip.

import { Microphone } from "./microphone.js";
import { judgeTake } from "./take.js";
import { download, wav, zip } from "./wav.js";

const TAKE_S = 2;
const REST_MS = 600;

const $ = (id) => document.getElementById(id);
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

export function offerRecording() {
  const files = [];
  let running = null;
  $("record-form").onsubmit = async (event) => {
    event.preventDefault();
    if (running) {
      running.stopped = true;
      return;
    }
    running = { stopped: false };
    $("record-start").textContent = "Stop";
    $("record-stage").hidden = false;
    try {
      await record(files, running);
    } catch (error) {
      $("record-note").textContent = error.message;
    }
    running = null;
    $("record-start").textContent = "Record";
    $("record-save").hidden = !files.length;
  };
  $("record-save").onclick = () => download(zip(files), "corpus.zip");
}

async function record(files, running) {
  const words = [...new Set($("record-words").value.split(",").map((word) => word.trim().toLowerCase()).filter(Boolean))];
  const takes = Number($("record-takes").value), speaker = $("record-speaker").value;
  let peak = 0;
  const microphone = await Microphone.open((chunk) => {
    peak = Math.max(0.7 * peak, ...chunk.map(Math.abs));
    $("record-level").value = 20 * Math.log10(peak + 1e-9);
  });
  $("record-progress").max = takes * words.length;
  try {
    // Word by turn: a voice that says one word ten times over stops meaning it.
    for (let take = 0, done = 0; take < takes; take++) {
      for (const word of words) {
        while (!running.stopped) {
          $("record-prompt").textContent = word;
          const start = microphone.samples / microphone.rate;
          while (microphone.samples / microphone.rate < start + TAKE_S && !running.stopped) await pause(20);
          if (running.stopped) break;
          const { clip, fault } = judgeTake(microphone.cut(start, start + TAKE_S), microphone.rate);
          $("record-prompt").textContent = "";
          $("record-note").textContent = fault ? `“${word}” was ${fault}` : `“${word}” is kept`;
          await pause(fault ? 2 * REST_MS : REST_MS);
          if (fault) continue;
          const number = files.filter(([path]) => path.startsWith(`corpus/${word}/${speaker}_nohash_`)).length;
          files.push([`corpus/${word}/${speaker}_nohash_${number}.wav`, wav(clip, microphone.rate)]);
          $("record-progress").value = ++done;
          break;
        }
      }
    }
    $("record-note").textContent = !files.length ? "Stopped: no take was kept." : `${files.length} takes. Unzip them, then: harken train --recipe own --network harken_tiny --data corpus --noise NOISE --out RUN`;
  } finally {
    $("record-prompt").textContent = "";
    microphone.close();
  }
}
