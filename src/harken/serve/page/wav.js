// 16-bit PCM, and WAV files that hold it.

/** Convert float samples (full scale is 1) to 16-bit PCM, rounded and clipped to the range. */
export function toPcm(samples) {
  return Int16Array.from(samples, (x) => Math.max(-32768, Math.min(32767, Math.round(x * 32768))));
}

/** Encode mono samples at `rate` Hz as the bytes of a WAV file. */
export function encodeWav(samples, rate) {
  const pcm = toPcm(samples);
  const view = new DataView(new ArrayBuffer(44 + 2 * pcm.length));
  const text = (offset, string) => [...string].forEach((char, i) => view.setUint8(offset + i, char.charCodeAt(0)));
  text(0, "RIFF"); view.setUint32(4, 36 + 2 * pcm.length, true); text(8, "WAVEfmt ");
  view.setUint32(16, 16, true); view.setUint16(20, 1, true); view.setUint16(22, 1, true);
  view.setUint32(24, rate, true); view.setUint32(28, 2 * rate, true); view.setUint16(32, 2, true); view.setUint16(34, 16, true);
  text(36, "data"); view.setUint32(40, 2 * pcm.length, true);
  pcm.forEach((x, i) => view.setInt16(44 + 2 * i, x, true));
  return new Uint8Array(view.buffer);
}
