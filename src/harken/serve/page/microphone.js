// The microphone: delivers chunks of samples at its own rate, buffers the last seconds, and measures the spectrum.

const BUFFER_S = 10;
const MAX_LAG_S = 5; // how far the page may be behind

/** Return why this page cannot use the microphone, or "" if it can. */
export function unavailableReason() {
  if (!window.isSecureContext) {
    const port = location.port || 80;
    return "Browsers allow the microphone only on https pages and on localhost. Start the server with --tls-cert and --tls-key, "
      + `or run  ssh -L ${port}:localhost:${port} ${location.hostname}  and open http://localhost:${port}`;
  }
  if (!navigator.mediaDevices?.getUserMedia || !window.AudioWorkletNode)
    return "This browser can't use the microphone. Please use a current version of Chrome, Edge, Firefox or Safari.";
  return "";
}

const ERROR_MESSAGES = {
  NotAllowedError: "Microphone access was denied. Allow it for this page in the address bar, then try again.",
  NotFoundError: "No microphone was found. Connect one, then try again.",
  NotReadableError: "Another program is using the microphone. Close that program, then try again.",
};

export class Microphone {
  /**
   * Open the microphone. `onChunk` gets a Float32Array about every 20 ms. `onLost` gets the problem if the microphone stops
   * before it is closed.
   */
  static async open(onChunk, onLost = () => {}) {
    const reason = unavailableReason();
    if (reason) throw new Error(reason);
    const unprocessed = { echoCancellation: false, noiseSuppression: false, autoGainControl: false, channelCount: 1 };
    let stream = null, context = null;
    try {
      stream = await navigator.mediaDevices.getUserMedia({ audio: unprocessed });
      context = new AudioContext();
      await context.audioWorklet.addModule(new URL("worklet.js", import.meta.url));
      await context.resume();
      return new Microphone(stream, context, onChunk, onLost);
    } catch (error) {
      stream?.getTracks().forEach((track) => track.stop());
      context?.close();
      throw new Error(ERROR_MESSAGES[error.name] ?? `The microphone couldn't be opened: ${error.message}`);
    }
  }

  constructor(stream, context, onChunk, onLost) {
    this.rate = context.sampleRate;
    this.sampleCount = 0;
    this.analyser = new AnalyserNode(context, { fftSize: 2048, smoothingTimeConstant: 0, minDecibels: -92, maxDecibels: -25 });
    this.#stream = stream;
    this.#context = context;
    this.#buffer = new Float32Array(BUFFER_S * this.rate);
    const source = context.createMediaStreamSource(stream);
    const sender = new AudioWorkletNode(context, "chunk-sender", { numberOfOutputs: 1, channelCount: 1, channelCountMode: "explicit" });
    sender.port.onmessage = ({ data: { samples, at_s } }) => {
      if (this.#closed) return;
      for (let i = 0; i < samples.length; i++) this.#buffer[(this.sampleCount + i) % this.#buffer.length] = samples[i];
      this.sampleCount += samples.length;
      onChunk(samples);
      // Where the model runs in the page, chunks wait in the browser's queue of messages, which has no limit.
      if (context.currentTime - at_s > MAX_LAG_S)
        lose("This page can't keep up with the microphone. Close other programs and tabs, then try again.");
    };
    source.connect(this.analyser);
    // The sender outputs silence. Some browsers run a node only if it is connected to the destination.
    source.connect(sender).connect(context.destination);

    const lose = (problem) => {
      if (this.#closed) return;
      this.close();
      this.#problem = problem;
      onLost(problem);
    };
    const unplugged = () => lose("The microphone was disconnected. Connect it, then try again.");
    stream.getTracks().forEach((track) => track.addEventListener("ended", unplugged));
    // Some systems interrupt it, for example for a phone call.
    context.addEventListener("statechange", () => context.state !== "running" && lose("The browser stopped the microphone. Try again."));
  }

  #stream;
  #context;
  #buffer; // a ring buffer
  #closed = false;
  #problem = ""; // why the microphone stopped

  /** Throw an error if the microphone has stopped by itself. */
  checkRunning() {
    if (this.#problem) throw new Error(this.#problem);
  }

  /** Return the samples from start_s to end_s of the recording, as far as they are still in the buffer. */
  slice(start_s, end_s) {
    const end = Math.min(this.sampleCount, Math.round(end_s * this.rate));
    const start = Math.max(0, this.sampleCount - this.#buffer.length, Math.round(start_s * this.rate));
    return Float32Array.from({ length: Math.max(0, end - start) }, (_, i) => this.#buffer[(start + i) % this.#buffer.length]);
  }

  close() {
    if (this.#closed) return;
    this.#closed = true;
    this.#stream.getTracks().forEach((track) => track.stop());
    this.#context.close();
  }
}
