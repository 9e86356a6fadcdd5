// Reads and writes ONNX files: the part of the format that teaching a phrase needs. Browser version of
// harken/models/onnx_bytes.py.
//
// A protobuf field consists of a key (field number << 3 | wire type) and a value. The field numbers are those of onnx.proto3.

const FLOAT = 1; // TensorProto.DataType
const OPSET = 13, IR_VERSION = 8;

const encoder = new TextEncoder(), decoder = new TextDecoder();

function concat(parts) {
  const bytes = new Uint8Array(parts.reduce((size, part) => size + part.length, 0));
  let position = 0;
  for (const part of parts) {
    bytes.set(part, position);
    position += part.length;
  }
  return bytes;
}

function varint(value) { // of a number from 0 to 2^53
  const bytes = [];
  for (; value > 127; value = Math.floor(value / 128)) bytes.push((value % 128) | 128);
  return Uint8Array.from([...bytes, value]);
}

const int = (field, value) => concat([varint(field << 3), varint(value)]);
const message = (field, ...parts) => {
  const value = concat(parts);
  return concat([varint((field << 3) | 2), varint(value.length), value]);
};
const text = (field, value) => message(field, encoder.encode(value));

/** Yield [field number, value] of each field of a message. A value is a number, or bytes. */
function* fieldsOf(bytes) {
  let position = 0;
  const readVarint = () => {
    let value = 0;
    for (let factor = 1; ; factor *= 128) {
      const byte = bytes[position++];
      value += (byte & 127) * factor;
      if (byte < 128) return value;
      if (byte === undefined) throw new Error("The model file is incomplete. Load the page again.");
    }
  };
  while (position < bytes.length) {
    const key = readVarint(), wire = key & 7;
    if (wire === 0) {
      yield [key >>> 3, readVarint()];
      continue;
    }
    const size = wire === 2 ? readVarint() : wire === 1 ? 8 : 4;
    yield [key >>> 3, bytes.subarray(position, position + size)];
    position += size;
  }
}

const valuesOf = (bytes, field) => [...fieldsOf(bytes)].filter(([number]) => number === field).map(([, value]) => value);
const textsOf = (bytes, field) => valuesOf(bytes, field).map((value) => decoder.decode(value));

/** Read a model: its nodes, its constants by name, and its metadata. */
export function readModel(bytes) {
  const [graph] = valuesOf(bytes, 7);
  return {
    nodes: valuesOf(graph, 1).map((node) => ({ bytes: node, inputs: textsOf(node, 1), outputs: textsOf(node, 2) })),
    constants: new Map(valuesOf(graph, 5).map((tensor) => [textsOf(tensor, 8)[0], tensor])),
    metadata: Object.fromEntries(valuesOf(bytes, 14).map((entry) => [textsOf(entry, 1)[0], JSON.parse(textsOf(entry, 2)[0])])),
  };
}

/** Return the values of a float32 constant that `readModel` found. */
export function floatsOf(tensor) {
  const [raw] = valuesOf(tensor, 9);
  return new Float32Array(raw.slice().buffer);
}

/** Create a float32 constant. */
export function floats(name, sizes, values) {
  const data = Float32Array.from(values), raw = new Uint8Array(data.buffer);
  return concat([...sizes.map((size) => int(1, size)), int(2, FLOAT), text(8, name), message(9, raw)]);
}

/** Create a node. Its attributes are whole numbers or lists of them. */
export function createNode(type, inputs, outputs, attributes = {}) {
  const attribute = ([name, value]) => Array.isArray(value)
    ? message(5, text(1, name), ...value.map((item) => int(8, item)), int(20, 7))
    : message(5, text(1, name), int(3, value), int(20, 2));
  const bytes = concat([...inputs.map((name) => text(1, name)), ...outputs.map((name) => text(2, name)), text(3, outputs[0]),
    text(4, type), ...Object.entries(attributes).map(attribute)]);
  return { bytes, inputs, outputs };
}

/** Describe a float32 input or output. A text among the sizes is the name of a size that varies. */
function tensorInfo(name, sizes) {
  const dimensions = sizes.map((size) => message(1, typeof size === "number" ? int(1, size) : text(2, size)));
  return [text(1, name), message(2, message(1, int(1, FLOAT), message(2, ...dimensions)))];
}

/**
 * Write a model. Constants that no node uses are left out.
 *
 * `inputs` and `outputs` are the sizes of each input and output, by name.
 */
export function writeModel({ nodes, constants, inputs, outputs, metadata = {} }) {
  const used = new Set(nodes.flatMap((node) => node.inputs));
  const graph = message(7,
    ...nodes.map((node) => message(1, node.bytes)),
    text(2, "harken"),
    ...[...constants].filter(([name]) => used.has(name)).map(([, tensor]) => message(5, tensor)),
    ...Object.entries(inputs).map(([name, sizes]) => message(11, ...tensorInfo(name, sizes))),
    ...Object.entries(outputs).map(([name, sizes]) => message(12, ...tensorInfo(name, sizes))));
  const entries = Object.entries(metadata).map(([key, value]) => message(14, text(1, key), text(2, JSON.stringify(value))));
  return concat([int(1, IR_VERSION), text(2, "harken"), graph, message(8, int(2, OPSET)), ...entries]);
}
