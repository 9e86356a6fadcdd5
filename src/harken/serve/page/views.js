// Waveform and spectrogram of the last seconds, drawn as the sound comes.

const SPAN_S = 4;
const LOWEST_HZ = 60, HIGHEST_HZ = 8000;

/** 256 colours from the paper of the page's theme through its accents to a bright one. */
function palette(style) {
  const at = (name) => style.getPropertyValue(name).trim().match(/[0-9a-f]{2}/gi).map((hex) => parseInt(hex, 16));
  const stops = [at("--card"), at("--accent"), at("--second"), [255, 236, 180]];
  return Array.from({ length: 256 }, (_, i) => {
    const place = (i / 256) * (stops.length - 1), low = Math.floor(place), part = place - low;
    return stops[low].map((value, c) => Math.round(value + part * (stops[low + 1][c] - value)));
  });
}

export class Views {
  constructor(wave, spectrogram) {
    this.#canvases = [wave, spectrogram];
    this.#size();
    this.#clear();
    addEventListener("resize", () => this.#size());
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.#clear());
  }

  #canvases;
  #palette;
  #colours;
  #source = null;
  #drawn = 0;

  /** Fit the canvases to the page and keep what is drawn: a phone resizes the page whenever it is scrolled. */
  #size() {
    const scale = devicePixelRatio || 1;
    for (const canvas of this.#canvases) {
      const width = Math.round(canvas.clientWidth * scale), height = Math.round(canvas.clientHeight * scale);
      if ((canvas.width === width && canvas.height === height) || !width || !height) continue;
      const before = document.createElement("canvas");
      [before.width, before.height] = [canvas.width, canvas.height];
      before.getContext("2d").drawImage(canvas, 0, 0);
      [canvas.width, canvas.height] = [width, height];
      canvas.getContext("2d").drawImage(before, 0, 0, width, height);
    }
  }

  /** Begin anew in the colours of the page's theme. */
  #clear() {
    for (const canvas of this.#canvases) canvas.getContext("2d").clearRect(0, 0, canvas.width, canvas.height);
    const style = getComputedStyle(document.documentElement);
    this.#palette = palette(style);
    this.#colours = { line: style.getPropertyValue("--line"), ink: style.getPropertyValue("--accent") };
    const [wave] = this.#canvases, pen = wave.getContext("2d");
    pen.fillStyle = this.#colours.line;
    pen.fillRect(0, wave.height / 2, wave.width, 1);
  }

  /** Draw what this microphone hears until stop(). */
  follow(microphone) {
    this.#source = microphone;
    this.#drawn = microphone.samples;
    const frame = () => {
      if (this.#source !== microphone) return;
      this.#advance(microphone);
      requestAnimationFrame(frame);
    };
    requestAnimationFrame(frame);
  }

  stop() {
    this.#source = null;
  }

  #advance(microphone) {
    const [wave, spectrogram] = this.#canvases;
    const perColumn = (SPAN_S * microphone.rate) / wave.width;
    const columns = Math.floor((microphone.samples - this.#drawn) / perColumn);
    if (columns < 1) return;
    const fresh = Math.min(columns, wave.width);
    const sound = microphone.cut(this.#drawn / microphone.rate, microphone.samples / microphone.rate);
    this.#drawn += columns * perColumn;
    for (const canvas of [wave, spectrogram]) {
      const pen = canvas.getContext("2d");
      pen.globalCompositeOperation = "copy"; // else the old picture shines through the new one
      pen.drawImage(canvas, -fresh, 0);
      pen.globalCompositeOperation = "source-over";
    }
    const pen = wave.getContext("2d"), middle = wave.height / 2;
    for (let i = 0; i < fresh; i++) {
      let peak = 0;
      for (let k = Math.floor(i * perColumn); k < Math.min(sound.length, (i + 1) * perColumn); k++) peak = Math.max(peak, Math.abs(sound[k]));
      const half = Math.max(0.5, Math.sqrt(peak) * middle); // the root lets a soft voice be seen
      pen.fillStyle = peak > 0.99 ? "#d33" : this.#colours.ink;
      pen.fillRect(wave.width - fresh + i, middle - half, 1, 2 * half);
    }
    this.#spectrum(microphone, spectrogram, fresh);
  }

  #spectrum(microphone, canvas, fresh) {
    const levels = new Uint8Array(microphone.analyser.frequencyBinCount);
    microphone.analyser.getByteFrequencyData(levels);
    const image = new ImageData(fresh, canvas.height), perBin = microphone.rate / 2 / levels.length;
    for (let y = 0; y < canvas.height; y++) {
      const hz = HIGHEST_HZ * (LOWEST_HZ / HIGHEST_HZ) ** (y / canvas.height);
      const bin = hz / perBin, low = Math.min(levels.length - 2, Math.floor(bin)), part = bin - low;
      const colour = this.#palette[Math.round(levels[low] * (1 - part) + levels[low + 1] * part)];
      for (let x = 0; x < fresh; x++) image.data.set([...colour, 255], 4 * (y * fresh + x));
    }
    canvas.getContext("2d").putImageData(image, canvas.width - fresh, 0);
  }
}
