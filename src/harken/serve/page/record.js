// Records the user's own words: shows prompts and the input level, checks each take, and packs a corpus folder as a ZIP.

import { $, create } from "./dom.js";
import { download } from "./download.js";
import { Microphone } from "./microphone.js";
import { checkTake } from "./take.js";
import { encodeWav } from "./wav.js";
import { createZip } from "./zip.js";

const TAKE_S = 2;
const PAUSE_MS = 600;
const TRAIN_COMMAND = "harken train --recipe own --network harken_tiny --data corpus --noise NOISE --out RUN";

const wait = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** Connect the form that records words. */
export function setUpRecording() {
  const files = [];
  let session = null;
  $("record-form").onsubmit = async (event) => {
    event.preventDefault();
    if (session) {
      session.stopped = true;
      return;
    }
    session = { stopped: false };
    $("record-start").textContent = "Stop recording";
    $("record-stage").hidden = false;
    try {
      await recordWords(files, session);
    } catch (error) {
      $("record-note").textContent = error.message;
    }
    session = null;
    $("record-start").textContent = "Start recording";
    $("record-download").hidden = !files.length;
  };
  $("record-download").onclick = () => download(createZip(files), "corpus.zip");
}

/** Record all takes of all words and append them to `files`, until done or stopped. */
async function recordWords(files, session) {
  const words = [...new Set($("record-words").value.split(",").map((word) => word.trim().toLowerCase()).filter(Boolean))];
  const takes = Number($("record-takes").value), speaker = $("record-speaker").value;
  let peak = 0;
  const microphone = await Microphone.open((chunk) => {
    peak = Math.max(0.7 * peak, ...chunk.map(Math.abs));
    $("record-level").value = 20 * Math.log10(peak + 1e-9);
  });
  const elapsed_s = () => microphone.sampleCount / microphone.rate;
  Object.assign($("record-progress"), { max: takes * words.length, value: 0 });
  try {
    // The words take turns: people who repeat one word ten times in a row stop saying it naturally.
    for (let take = 0, done = 0; take < takes; take++) {
      for (const word of words) {
        while (!session.stopped) {
          $("record-prompt").textContent = word;
          const start_s = elapsed_s();
          while (elapsed_s() < start_s + TAKE_S && !session.stopped) {
            await wait(20);
            microphone.checkRunning();
          }
          if (session.stopped) break;
          const { clip, fault } = checkTake(microphone.slice(start_s, start_s + TAKE_S), microphone.rate);
          $("record-prompt").textContent = "";
          $("record-note").textContent = fault ? `“${word}” was ${fault}` : `Saved “${word}”`;
          await wait(fault ? 2 * PAUSE_MS : PAUSE_MS);
          if (fault) continue;
          const number = files.filter(([path]) => path.startsWith(`corpus/${word}/${speaker}_nohash_`)).length;
          files.push([`corpus/${word}/${speaker}_nohash_${number}.wav`, encodeWav(clip, microphone.rate)]);
          $("record-progress").value = ++done;
          break;
        }
      }
    }
    if (files.length) {
      const count = `${files.length} ${files.length > 1 ? "takes" : "take"} recorded. Download and unzip them, then run: `;
      $("record-note").replaceChildren(count, create("code", { textContent: TRAIN_COMMAND }));
    } else {
      $("record-note").textContent = "Stopped. No takes were recorded.";
    }
  } finally {
    $("record-prompt").textContent = "";
    microphone.close();
  }
}
