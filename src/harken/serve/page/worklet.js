// Hands the microphone's samples to the page in chunks of about 20 ms.

class Tap extends AudioWorkletProcessor {
  #held = new Float32Array(Math.round(sampleRate / 50));
  #count = 0;

  process([[channel]]) {
    for (const sample of channel ?? []) {
      this.#held[this.#count++] = sample;
      if (this.#count === this.#held.length) {
        this.port.postMessage(this.#held);
        this.#held = new Float32Array(this.#held.length);
        this.#count = 0;
      }
    }
    return true;
  }
}

registerProcessor("tap", Tap);
