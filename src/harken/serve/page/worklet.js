// Sends the microphone's samples to the page in chunks of about 20 ms, with the time of each.

class ChunkSender extends AudioWorkletProcessor {
  #chunk = new Float32Array(Math.round(sampleRate / 50));
  #filled = 0;

  process([[channel]]) {
    for (const sample of channel ?? []) {
      this.#chunk[this.#filled++] = sample;
      if (this.#filled === this.#chunk.length) {
        this.port.postMessage({ samples: this.#chunk, at_s: currentTime });
        this.#chunk = new Float32Array(this.#chunk.length);
        this.#filled = 0;
      }
    }
    return true;
  }
}

registerProcessor("chunk-sender", ChunkSender);
