// harken/listener.py for a browser: the same hops, smoothing, thresholds, refractory time, energy gate and isolation.

import { Isolation, lowered } from "./isolation.js";

export class Listener {
  /** settings as in the model file; judge(Float32Array of a window) -> promise of probabilities; silence: those of zeros. */
  constructor({ labels, sample_rate, window, listener: settings }, judge, silence) {
    this.labels = labels;
    this.thresholds = { ...settings.thresholds };
    this.#judge = judge;
    this.#rate = sample_rate;
    this.#hop = Math.round((settings.hop_ms * sample_rate) / 1000);
    this.#refractory = Math.ceil(settings.refractory_ms / settings.hop_ms);
    this.#gate = settings.gate_db === null ? 0 : 10 ** (settings.gate_db / 20);
    this.#buffer = new Float32Array(window);
    this.#silence = silence;
    this.#history = Array(Math.max(1, Math.round(settings.smoothing_ms / settings.hop_ms))).fill(silence);
    this.#isolation = settings.isolation;
    this.#around = new Isolation(sample_rate, window);
    this.posteriors = silence;
    this.confidence = Math.max(...silence);
  }

  #judge; #rate; #hop; #refractory; #gate; #buffer; #silence; #history; #isolation; #around;
  #fresh = new Float32Array(0);
  #armed = 0;
  #told = null; // the word of the last event, while it stays at its threshold or over it
  hops = 0;

  /** Samples at the model's rate -> the events decided on. Await one push before the next. */
  async push(samples) {
    const waiting = new Float32Array(this.#fresh.length + samples.length);
    waiting.set(this.#fresh);
    waiting.set(samples, this.#fresh.length);
    const events = [];
    let start = 0;
    for (; start + this.#hop <= waiting.length; start += this.#hop) {
      this.#buffer.copyWithin(0, this.#hop);
      this.#buffer.set(waiting.subarray(start, start + this.#hop), this.#buffer.length - this.#hop);
      this.#around.push(waiting.subarray(start, start + this.#hop));
      const event = await this.#look();
      if (event) events.push(event);
    }
    this.#fresh = waiting.slice(start);
    return events;
  }

  async #look() {
    const silent = this.#buffer.every((x) => Math.abs(x) < this.#gate);
    this.#history[this.hops++ % this.#history.length] = silent ? this.#silence : await this.#judge(this.#buffer);
    this.posteriors = this.labels.map((_, i) => this.#history.reduce((sum, row) => sum + row[i], 0) / this.#history.length);
    const most = Math.max(...this.posteriors), word = this.labels[this.posteriors.indexOf(most)];
    this.confidence = lowered(most, this.#isolation * this.#around.doubt());
    const over = this.confidence >= this.thresholds[word];
    if (!over || word !== this.#told) this.#told = null;
    if (!over || word === this.#told || this.hops < this.#armed) return null;
    this.#told = word;
    this.#armed = this.hops + this.#refractory;
    const end = this.hops * this.#hop;
    return { word, confidence: this.confidence, start_s: Math.max(0, end - this.#buffer.length) / this.#rate, end_s: end / this.#rate };
  }
}
