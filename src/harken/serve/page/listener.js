// Browser version of harken/runtime/listener.py: detects words in a stream, with the same hop, smoothing, thresholds,
// refractory time, energy gate and isolation.

import { HighPass } from "./highpass.js";
import { Isolation, subtractLogits } from "./isolation.js";
import { round } from "./round.js";

export class Listener {
  /**
   * @param card the model card: `labels`, `sample_rate`, `window`, and the `listener` settings
   * @param predictWindow takes a Float32Array with one window, returns a promise of its probabilities
   * @param silence the probabilities of a window of zeros
   */
  constructor({ labels, sample_rate, window, listener: settings }, predictWindow, silence) {
    this.labels = labels;
    this.thresholds = { ...settings.thresholds };
    this.#predictWindow = predictWindow;
    this.sampleRate = sample_rate;
    this.window = window;
    this.#hop = round((settings.hop_ms * sample_rate) / 1000);
    this.#refractoryHops = Math.ceil(settings.refractory_ms / settings.hop_ms);
    this.#gate = settings.gate_db === null ? 0 : 10 ** (settings.gate_db / 20);
    this.#buffer = new Float32Array(window);
    this.#silence = silence;
    this.#history = Array(Math.max(1, round(settings.smoothing_ms / settings.hop_ms))).fill(silence);
    this.#isolationLogits = settings.isolation;
    this.#highPass = new HighPass(sample_rate);
    this.#isolation = new Isolation(sample_rate, window, this.#hop);
    this.#silenceClass = labels.indexOf("_silence_");
    this.#peaks = new Float32Array(Math.ceil(window / this.#hop));
    this.posteriors = silence;
    this.confidence = Math.max(...silence);
  }

  #predictWindow; #hop; #refractoryHops; #gate; #buffer; #silence; #history; #isolationLogits;
  #highPass; #isolation; #silenceClass;
  #peaks; // peak level of each hop in the window, without offset and hum
  #pending = new Float32Array(0); // samples that do not fill a hop yet
  #refractoryEnd = 0; // the refractory time ends at this hop
  #activeWord = null; // the word of the last event, for as long as it stays at or above its threshold
  hops = 0;
  received = 0; // samples of the stream
  ignoresIsolation = false; // set by a WakeListener while words count

  /** Time of the last hop. */
  get at_s() { return (this.hops * this.#hop) / this.sampleRate; }

  /** Let the next word be detected at once, however short the time since the last one. */
  endRefractoryTime() { this.#refractoryEnd = 0; }

  /** Take samples at the model's rate and return the detected words. Await each call before the next one. */
  async push(samples) {
    this.received += samples.length;
    const input = new Float32Array(this.#pending.length + samples.length);
    input.set(this.#pending);
    input.set(samples, this.#pending.length);
    const events = [];
    let start = 0;
    for (; start + this.#hop <= input.length; start += this.#hop) {
      this.#buffer.copyWithin(0, this.#hop);
      this.#buffer.set(input.subarray(start, start + this.#hop), this.#buffer.length - this.#hop);
      const withoutHum = this.#highPass.push(input.subarray(start, start + this.#hop));
      this.#peaks[this.hops % this.#peaks.length] = withoutHum.reduce((peak, x) => Math.max(peak, Math.abs(x)), 0);
      this.#isolation.push(withoutHum);
      const event = await this.#endHop();
      if (event) events.push(event);
    }
    this.#pending = input.slice(start);
    return events;
  }

  async #endHop() {
    const silent = this.#peaks.every((peak) => peak < this.#gate);
    const probabilities = silent ? this.#silence : await this.#predictWindow(this.#buffer);
    this.#history[this.hops++ % this.#history.length] = probabilities;
    const full = this.hops * this.#hop >= this.window; // the first windows contain zeros, which are no noise
    if (this.#silenceClass >= 0) this.#isolation.addSilence(full ? probabilities[this.#silenceClass] : 0);
    this.posteriors = this.labels.map((_, i) => this.#history.reduce((sum, row) => sum + row[i], 0) / this.#history.length);
    const highest = Math.max(...this.posteriors), word = this.labels[this.posteriors.indexOf(highest)];
    const penalty = this.ignoresIsolation ? 0 : this.#isolationLogits * this.#isolation.penalty();
    this.confidence = subtractLogits(highest, penalty);
    const reached = this.confidence >= this.thresholds[word]; // false for classes that are not words: they have no threshold
    if (!reached || word !== this.#activeWord) this.#activeWord = null;
    if (!reached || word === this.#activeWord || this.hops < this.#refractoryEnd) return null;
    this.#activeWord = word;
    this.#refractoryEnd = this.hops + this.#refractoryHops;
    const end = this.hops * this.#hop, start = Math.max(0, end - this.#buffer.length);
    return { word, confidence: this.confidence, start_s: start / this.sampleRate, end_s: end / this.sampleRate };
  }
}
