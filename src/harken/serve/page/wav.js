// Recordings as files: 16-bit PCM WAV, and a zip (stored, as sound hardly shrinks) of a corpus folder.

/** Float32Array, full scale 1 -> Int16Array, rounded and held within the range. */
export function toPcm(samples) {
  return Int16Array.from(samples, (x) => Math.max(-32768, Math.min(32767, Math.round(x * 32768))));
}

/** Mono samples at `rate` Hz -> the bytes of a WAV file. */
export function wav(samples, rate) {
  const pcm = toPcm(samples);
  const view = new DataView(new ArrayBuffer(44 + 2 * pcm.length));
  const text = (at, string) => [...string].forEach((c, i) => view.setUint8(at + i, c.charCodeAt(0)));
  text(0, "RIFF"); view.setUint32(4, 36 + 2 * pcm.length, true); text(8, "WAVEfmt ");
  view.setUint32(16, 16, true); view.setUint16(20, 1, true); view.setUint16(22, 1, true);
  view.setUint32(24, rate, true); view.setUint32(28, 2 * rate, true); view.setUint16(32, 2, true); view.setUint16(34, 16, true);
  text(36, "data"); view.setUint32(40, 2 * pcm.length, true);
  pcm.forEach((x, i) => view.setInt16(44 + 2 * i, x, true));
  return new Uint8Array(view.buffer);
}

const CRC = Uint32Array.from({ length: 256 }, (_, n) => {
  for (let bit = 0; bit < 8; bit++) n = n & 1 ? (n >>> 1) ^ 0xedb88320 : n >>> 1;
  return n;
});

function crc32(bytes) {
  let crc = 0xffffffff;
  for (const byte of bytes) crc = (crc >>> 8) ^ CRC[(crc ^ byte) & 255];
  return ~crc >>> 0;
}

/** [[path, Uint8Array], ...] -> a Blob of the zip archive (PKWARE's APPNOTE, method 0, names in UTF-8). */
export function zip(files) {
  const parts = [], index = [];
  let offset = 0;
  for (const [path, bytes] of files) {
    const name = new TextEncoder().encode(path);
    const fields = new DataView(new ArrayBuffer(26));
    fields.setUint16(0, 20, true); fields.setUint16(2, 0x800, true); fields.setUint16(8, 0x21, true);
    fields.setUint32(10, crc32(bytes), true); fields.setUint32(14, bytes.length, true);
    fields.setUint32(18, bytes.length, true); fields.setUint16(22, name.length, true);
    const entry = new DataView(new ArrayBuffer(16));
    entry.setUint32(12, offset, true);
    index.push(Uint8Array.of(0x50, 0x4b, 1, 2, 20, 0), new Uint8Array(fields.buffer), new Uint8Array(entry.buffer).slice(2), name);
    parts.push(Uint8Array.of(0x50, 0x4b, 3, 4), new Uint8Array(fields.buffer), name, bytes);
    offset += 30 + name.length + bytes.length;
  }
  const end = new DataView(new ArrayBuffer(22));
  end.setUint32(0, 0x06054b50, true); end.setUint16(8, files.length, true); end.setUint16(10, files.length, true);
  end.setUint32(12, index.reduce((sum, part) => sum + part.length, 0), true); end.setUint32(16, offset, true);
  return new Blob([...parts, ...index, new Uint8Array(end.buffer)], { type: "application/zip" });
}

/** Offer bytes or a Blob to the user as a file called `name`. */
export function download(content, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(content instanceof Blob ? content : new Blob([content], { type: "audio/wav" }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}
