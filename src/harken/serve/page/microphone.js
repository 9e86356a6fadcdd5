// The microphone: chunks of samples at its own rate, the last seconds of them kept, and the browser's own spectrum.

const KEPT_S = 10;

/** Why there can be no microphone here, or "". */
export function obstacle() {
  if (!window.isSecureContext)
    return "Browsers give the microphone to https pages and to this machine's own (localhost) alone. Serve with --tls-cert and "
      + `--tls-key, or run  ssh -L ${location.port || 80}:localhost:${location.port || 80} ${location.hostname}  and open http://localhost:${location.port || 80}`;
  if (!navigator.mediaDevices?.getUserMedia || !window.AudioWorkletNode) return "This browser has no microphone access: use a current one.";
  return "";
}

const REFUSALS = {
  NotAllowedError: "The microphone was refused: allow it for this page in the address bar, and try again.",
  NotFoundError: "There is no microphone: plug one in, and try again.",
  NotReadableError: "Another program holds the microphone: close it, and try again.",
};

export class Microphone {
  /** onChunk(Float32Array) is called for each 20 ms. */
  static async open(onChunk) {
    const why = obstacle();
    if (why) throw new Error(why);
    const plain = { echoCancellation: false, noiseSuppression: false, autoGainControl: false, channelCount: 1 };
    let stream = null, context = null;
    try {
      stream = await navigator.mediaDevices.getUserMedia({ audio: plain });
      context = new AudioContext();
      await context.audioWorklet.addModule(new URL("worklet.js", import.meta.url));
      await context.resume();
      return new Microphone(stream, context, onChunk);
    } catch (error) {
      stream?.getTracks().forEach((track) => track.stop());
      context?.close();
      throw new Error(REFUSALS[error.name] ?? `The microphone could not be opened: ${error.message}`);
    }
  }

  constructor(stream, context, onChunk) {
    this.rate = context.sampleRate;
    this.samples = 0;
    this.analyser = new AnalyserNode(context, { fftSize: 2048, smoothingTimeConstant: 0, minDecibels: -92, maxDecibels: -25 });
    this.#stream = stream;
    this.#context = context;
    this.#kept = new Float32Array(KEPT_S * this.rate);
    const source = context.createMediaStreamSource(stream);
    const tap = new AudioWorkletNode(context, "tap", { numberOfOutputs: 1, channelCount: 1, channelCountMode: "explicit" });
    tap.port.onmessage = ({ data }) => {
      for (let i = 0; i < data.length; i++) this.#kept[(this.samples + i) % this.#kept.length] = data[i];
      this.samples += data.length;
      onChunk(data);
    };
    source.connect(this.analyser);
    source.connect(tap).connect(context.destination); // it puts out silence; some browsers run only what is connected
  }

  #stream;
  #context;
  #kept;

  /** Samples from start_s to end_s of the recording, as far as they are kept. */
  cut(start_s, end_s) {
    const end = Math.min(this.samples, Math.round(end_s * this.rate));
    const start = Math.max(0, this.samples - this.#kept.length, Math.round(start_s * this.rate));
    return Float32Array.from({ length: Math.max(0, end - start) }, (_, i) => this.#kept[(start + i) % this.#kept.length]);
  }

  close() {
    this.#stream.getTracks().forEach((track) => track.stop());
    this.#context.close();
  }
}
