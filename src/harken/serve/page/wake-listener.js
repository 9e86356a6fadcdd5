// Browser version of harken/runtime/wake_listener.py: commands count only for some seconds after a wake phrase.

export class WakeListener {
  /** `wake` and `commands` are Listeners. Words of `commands` count for `commandS` seconds after a word of `wake`. */
  constructor(wake, commands, commandS) {
    this.#wake = wake;
    this.#commands = commands;
    this.#commandS = commandS;
  }

  #wake; #commands; #commandS;
  #wakeWords = []; // those that `commands` has not reached yet
  #last = null; // the last wake phrase that `commands` has reached
  #commandEnd = 0; // number of samples of the stream after which no command counts
  #waiting = new Float32Array(0); // samples for `commands`

  /** Time in the stream until which commands count, or null if they do not count now. */
  get until_s() {
    const until = this.#last === null ? -Infinity : this.#last.end_s + this.#commandS;
    return this.#commands.received / this.#commands.sampleRate < until ? until : null;
  }

  /** Take the same audio at the rate of each model, and return the wake phrases and commands. Await each call. */
  async push(wakeSamples, commandSamples) {
    this.#wakeWords.push(...await this.#wake.push(wakeSamples));
    const waiting = new Float32Array(this.#waiting.length + commandSamples.length);
    waiting.set(this.#waiting);
    waiting.set(commandSamples, this.#waiting.length);
    this.#waiting = waiting;
    // The two resamplers have different delays. `commands` is never ahead, since it has to know every wake phrase.
    const known = Math.floor((this.#wake.received * this.#commands.sampleRate) / this.#wake.sampleRate);
    const end = Math.min(known, this.#commands.received + this.#waiting.length), events = [];
    while (this.#wakeWords.length) {
      const at = Math.round(this.#wakeWords[0].end_s * this.#commands.sampleRate);
      if (at > end) break;
      events.push(...await this.#process(at), this.#beginCommands());
    }
    return [...events, ...await this.#process(end)];
  }

  async #process(end) {
    this.#commands.ignoresIsolation = true;
    const events = await this.#pushWaiting(Math.min(end, this.#commandEnd));
    this.#commands.ignoresIsolation = false;
    return [...events, ...await this.#pushWaiting(end)];
  }

  async #pushWaiting(end) {
    const count = Math.max(0, end - this.#commands.received);
    const samples = this.#waiting.slice(0, count);
    this.#waiting = this.#waiting.slice(count);
    return this.#counting(await this.#commands.push(samples));
  }

  #beginCommands() {
    // A word that was dropped, perhaps a part of the phrase, must not hold off the first command.
    if (this.#commands.received >= this.#commandEnd) this.#commands.endRefractoryTime();
    this.#last = this.#wakeWords.shift();
    const until_s = this.#last.end_s + this.#commandS;
    // The last window that counts begins before this time.
    this.#commandEnd = Math.ceil(until_s * this.#commands.sampleRate) + this.#commands.window - 1;
    return { ...this.#last, kind: "wake", until_s };
  }

  #counting(words) {
    if (this.#last === null) return [];
    const { word: wakeWord, end_s } = this.#last, until_s = end_s + this.#commandS;
    const isSameUtterance = (word) => word.word === wakeWord && word.start_s < end_s;
    return words
      .filter((word) => word.end_s > end_s && word.start_s < until_s && !isSameUtterance(word))
      .map((word) => ({ ...word, kind: "command", until_s }));
  }
}
