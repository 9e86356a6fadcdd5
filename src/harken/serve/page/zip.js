// ZIP archives. The files are stored without compression, because audio hardly shrinks.

const CRC_TABLE = Uint32Array.from({ length: 256 }, (_, n) => {
  for (let bit = 0; bit < 8; bit++) n = n & 1 ? (n >>> 1) ^ 0xedb88320 : n >>> 1;
  return n;
});

function crc32(bytes) {
  let crc = 0xffffffff;
  for (const byte of bytes) crc = (crc >>> 8) ^ CRC_TABLE[(crc ^ byte) & 255];
  return ~crc >>> 0;
}

/** Pack [[path, Uint8Array], ...] into a ZIP archive and return it as a Blob.
 *
 * The layout follows PKWARE's APPNOTE: method 0 (stored), file names in UTF-8.
 */
export function createZip(files) {
  const contents = [], directory = [];
  let offset = 0;
  for (const [path, bytes] of files) {
    const name = new TextEncoder().encode(path);
    const fields = new DataView(new ArrayBuffer(26));
    fields.setUint16(0, 20, true); fields.setUint16(2, 0x800, true); fields.setUint16(8, 0x21, true);
    fields.setUint32(10, crc32(bytes), true); fields.setUint32(14, bytes.length, true);
    fields.setUint32(18, bytes.length, true); fields.setUint16(22, name.length, true);
    const entry = new DataView(new ArrayBuffer(16));
    entry.setUint32(12, offset, true);
    directory.push(Uint8Array.of(0x50, 0x4b, 1, 2, 20, 0), new Uint8Array(fields.buffer), new Uint8Array(entry.buffer).slice(2), name);
    contents.push(Uint8Array.of(0x50, 0x4b, 3, 4), new Uint8Array(fields.buffer), name, bytes);
    offset += 30 + name.length + bytes.length;
  }
  const end = new DataView(new ArrayBuffer(22));
  end.setUint32(0, 0x06054b50, true); end.setUint16(8, files.length, true); end.setUint16(10, files.length, true);
  end.setUint32(12, directory.reduce((sum, part) => sum + part.length, 0), true); end.setUint32(16, offset, true);
  return new Blob([...contents, ...directory, new Uint8Array(end.buffer)], { type: "application/zip" });
}
