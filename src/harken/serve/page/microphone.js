// The microphone: delivers chunks of samples at its own rate, buffers the last seconds, and measures the spectrum.

const BUFFER_S = 10;

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
  /** Open the microphone. `onChunk` gets a Float32Array about every 20 ms. */
  static async open(onChunk) {
    const reason = unavailableReason();
    if (reason) throw new Error(reason);
    const unprocessed = { echoCancellation: false, noiseSuppression: false, autoGainControl: false, channelCount: 1 };
    let stream = null, context = null;
    try {
      stream = await navigator.mediaDevices.getUserMedia({ audio: unprocessed });
      context = new AudioContext();
      await context.audioWorklet.addModule(new URL("worklet.js", import.meta.url));
      await context.resume();
      return new Microphone(stream, context, onChunk);
    } catch (error) {
      stream?.getTracks().forEach((track) => track.stop());
      context?.close();
      throw new Error(ERROR_MESSAGES[error.name] ?? `The microphone couldn't be opened: ${error.message}`);
    }
  }

  constructor(stream, context, onChunk) {
    this.rate = context.sampleRate;
    this.sampleCount = 0;
    this.analyser = new AnalyserNode(context, { fftSize: 2048, smoothingTimeConstant: 0, minDecibels: -92, maxDecibels: -25 });
    this.#stream = stream;
    this.#context = context;
    this.#buffer = new Float32Array(BUFFER_S * this.rate);
    const source = context.createMediaStreamSource(stream);
    const sender = new AudioWorkletNode(context, "chunk-sender", { numberOfOutputs: 1, channelCount: 1, channelCountMode: "explicit" });
    sender.port.onmessage = ({ data }) => {
      for (let i = 0; i < data.length; i++) this.#buffer[(this.sampleCount + i) % this.#buffer.length] = data[i];
      this.sampleCount += data.length;
      onChunk(data);
    };
    source.connect(this.analyser);
    // The sender outputs silence. Some browsers run a node only if it is connected to the destination.
    source.connect(sender).connect(context.destination);
  }

  #stream;
  #context;
  #buffer; // a ring buffer

  /** Return the samples from start_s to end_s of the recording, as far as they are still in the buffer. */
  slice(start_s, end_s) {
    const end = Math.min(this.sampleCount, Math.round(end_s * this.rate));
    const start = Math.max(0, this.sampleCount - this.#buffer.length, Math.round(start_s * this.rate));
    return Float32Array.from({ length: Math.max(0, end - start) }, (_, i) => this.#buffer[(start + i) % this.#buffer.length]);
  }

  close() {
    this.#stream.getTracks().forEach((track) => track.stop());
    this.#context.close();
  }
}
