// Draws the waveform and the spectrogram of the last seconds of audio as it arrives.

const SPAN_S = 4;
const MIN_HZ = 60, MAX_HZ = 8000;
const CLIPPED = 0.99, CLIPPED_COLOR = "#d33";

/** Return 256 colors, from the background of the page's theme through its two accents to a bright one. */
function spectrogramColors(style) {
  const color = (name) => style.getPropertyValue(name).trim().match(/[0-9a-f]{2}/gi).map((hex) => parseInt(hex, 16));
  const stops = [color("--card"), color("--accent"), color("--second"), [255, 236, 180]];
  return Array.from({ length: 256 }, (_, i) => {
    const place = (i / 256) * (stops.length - 1), low = Math.floor(place), part = place - low;
    return stops[low].map((value, channel) => Math.round(value + part * (stops[low + 1][channel] - value)));
  });
}

export class Visualizer {
  constructor(waveform, spectrogram) {
    this.#waveform = waveform;
    this.#spectrogram = spectrogram;
    this.#resize();
    this.#reset();
    addEventListener("resize", () => this.#resize());
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.#reset());
  }

  #waveform;
  #spectrogram;
  #spectrogramColors;
  #waveformColor;
  #microphone = null;
  #drawnSamples = 0; // how much of the microphone's audio is drawn

  /** Draw the audio of this microphone until stop() is called. */
  start(microphone) {
    this.#microphone = microphone;
    this.#drawnSamples = microphone.sampleCount;
    const drawFrame = () => {
      if (this.#microphone !== microphone) return;
      this.#draw(microphone);
      requestAnimationFrame(drawFrame);
    };
    requestAnimationFrame(drawFrame);
  }

  stop() {
    this.#microphone = null;
  }

  /** Fit the canvases to the page and keep the picture: phones resize the page whenever the user scrolls. */
  #resize() {
    const scale = devicePixelRatio || 1;
    for (const canvas of [this.#waveform, this.#spectrogram]) {
      const width = Math.round(canvas.clientWidth * scale), height = Math.round(canvas.clientHeight * scale);
      if ((canvas.width === width && canvas.height === height) || !width || !height) continue;
      const previous = document.createElement("canvas");
      [previous.width, previous.height] = [canvas.width, canvas.height];
      previous.getContext("2d").drawImage(canvas, 0, 0);
      [canvas.width, canvas.height] = [width, height];
      canvas.getContext("2d").drawImage(previous, 0, 0, width, height);
    }
  }

  /** Clear the canvases and read the colors of the page's theme. */
  #reset() {
    for (const canvas of [this.#waveform, this.#spectrogram]) canvas.getContext("2d").clearRect(0, 0, canvas.width, canvas.height);
    const style = getComputedStyle(document.documentElement);
    this.#spectrogramColors = spectrogramColors(style);
    this.#waveformColor = style.getPropertyValue("--accent");
  }

  /** Draw the columns for the samples that arrived since the last call. */
  #draw(microphone) {
    const samplesPerColumn = (SPAN_S * microphone.rate) / this.#waveform.width;
    const newColumns = Math.floor((microphone.sampleCount - this.#drawnSamples) / samplesPerColumn);
    if (newColumns < 1) return;
    const columns = Math.min(newColumns, this.#waveform.width);
    const start = this.#drawnSamples + (newColumns - columns) * samplesPerColumn; // a hidden page has missed the earlier ones
    const samples = microphone.slice(start / microphone.rate, microphone.sampleCount / microphone.rate);
    this.#drawnSamples += newColumns * samplesPerColumn;
    for (const canvas of [this.#waveform, this.#spectrogram]) {
      const context = canvas.getContext("2d");
      context.globalCompositeOperation = "copy"; // otherwise the old picture shows through the new one
      context.drawImage(canvas, -columns, 0);
      context.globalCompositeOperation = "source-over";
    }
    this.#drawWaveform(samples, samplesPerColumn, columns);
    this.#drawSpectrum(microphone, columns);
  }

  #drawWaveform(samples, samplesPerColumn, columns) {
    const canvas = this.#waveform, context = canvas.getContext("2d"), middle = canvas.height / 2;
    for (let i = 0; i < columns; i++) {
      const end = Math.min(samples.length, (i + 1) * samplesPerColumn);
      let peak = 0;
      for (let k = Math.floor(i * samplesPerColumn); k < end; k++) peak = Math.max(peak, Math.abs(samples[k]));
      const halfHeight = Math.max(0.5, Math.sqrt(peak) * middle); // the square root makes soft voices visible
      context.fillStyle = peak > CLIPPED ? CLIPPED_COLOR : this.#waveformColor;
      context.fillRect(canvas.width - columns + i, middle - halfHeight, 1, 2 * halfHeight);
    }
  }

  /** Draw the current spectrum into the newest columns, with a logarithmic frequency axis. */
  #drawSpectrum(microphone, columns) {
    const canvas = this.#spectrogram, levels = new Uint8Array(microphone.analyser.frequencyBinCount);
    microphone.analyser.getByteFrequencyData(levels);
    const image = new ImageData(columns, canvas.height), hzPerBin = microphone.rate / 2 / levels.length;
    for (let y = 0; y < canvas.height; y++) {
      const hz = MAX_HZ * (MIN_HZ / MAX_HZ) ** (y / canvas.height);
      const bin = hz / hzPerBin, low = Math.min(levels.length - 2, Math.floor(bin)), part = bin - low;
      const color = this.#spectrogramColors[Math.round(levels[low] * (1 - part) + levels[low + 1] * part)];
      for (let x = 0; x < columns; x++) image.data.set([...color, 255], 4 * (y * columns + x));
    }
    canvas.getContext("2d").putImageData(image, canvas.width - columns, 0);
  }
}
