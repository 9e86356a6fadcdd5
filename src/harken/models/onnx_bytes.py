"""Read and write ONNX files without the package `onnx`: the part of the format that enrollment needs.

read_initializers   the constants of a model file, by name
read_metadata       the metadata entries of a model file
Tensor              an input or output of a graph
node                one node of a graph
model               a whole model

A protobuf field consists of a key (field number << 3 | wire type) and a value. The field numbers are those of onnx.proto3.
"""

import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from harken.errors import HarkenError

_FLOAT, _INT64 = 1, 7  # TensorProto.DataType
_TYPES: dict[int, type[np.generic]] = {_FLOAT: np.float32, _INT64: np.int64}
_OPSET = 13
_IR_VERSION = 8

Array = NDArray[np.float32] | NDArray[np.int64]
Attribute = int | float | str | Sequence[int]


@dataclass(frozen=True)
class Tensor:
    """An input or output of a graph.

    Attributes
    ----------
    name
        Its name.
    shape
        Its sizes. A text is the name of a size that varies.
    """

    name: str
    shape: tuple[int | str, ...]


def node(op_type: str, inputs: Sequence[str], outputs: Sequence[str], **attributes: Attribute) -> bytes:
    """Return a node as a serialized NodeProto."""
    parts = [_text(1, name) for name in inputs] + [_text(2, name) for name in outputs]
    parts += [_text(3, outputs[0]), _text(4, op_type)]
    parts += [_bytes(5, _attribute(name, value)) for name, value in attributes.items()]
    return b"".join(parts)


def model(
    nodes: Sequence[bytes],
    constants: Mapping[str, Array],
    inputs: Sequence[Tensor],
    outputs: Sequence[Tensor],
    metadata: Mapping[str, str],
) -> bytes:
    """Return a model as a serialized ModelProto.

    Parameters
    ----------
    nodes
        The nodes of the graph, from `node`.
    constants
        Constants that the nodes use, by name.
    inputs, outputs
        Inputs and outputs of the graph.
    metadata
        Metadata entries.
    """
    graph = b"".join(
        [
            *(_bytes(1, part) for part in nodes),
            _text(2, "harken"),
            *(_bytes(5, _tensor(name, values)) for name, values in constants.items()),
            *(_bytes(11, _value_info(tensor)) for tensor in inputs),
            *(_bytes(12, _value_info(tensor)) for tensor in outputs),
        ]
    )
    return b"".join(
        [
            _int(1, _IR_VERSION),
            _text(2, "harken"),
            _bytes(7, graph),
            _bytes(8, _int(2, _OPSET)),
            *(_bytes(14, _text(1, key) + _text(2, value)) for key, value in metadata.items()),
        ]
    )


def read_initializers(content: bytes) -> dict[str, Array]:
    """Return the float32 and int64 constants of a model file.

    Raises
    ------
    HarkenError
        If the content is not an ONNX model.
    """
    found: dict[str, Array] = {}
    try:
        for number, graph in _fields(content):
            if number == 7 and isinstance(graph, bytes):
                for part, value in _fields(graph):
                    if part == 5 and isinstance(value, bytes):
                        name, values = _read_tensor(value)
                        if values is not None:
                            found[name] = values
    except (IndexError, ValueError, struct.error) as error:
        raise HarkenError("the file is not a complete ONNX model: download or export it again") from error
    return found


def read_metadata(content: bytes) -> dict[str, str]:
    """Return the metadata entries of a model file.

    Raises
    ------
    HarkenError
        If the content is not an ONNX model.
    """
    found: dict[str, str] = {}
    try:
        for number, entry in _fields(content):
            if number == 14 and isinstance(entry, bytes):
                values = {part: value for part, value in _fields(entry) if isinstance(value, bytes)}
                found[values.get(1, b"").decode()] = values.get(2, b"").decode()
    except (IndexError, ValueError, struct.error) as error:
        raise HarkenError("the file is not a complete ONNX model: download or export it again") from error
    return found


def _varint(value: int) -> bytes:
    value &= (1 << 64) - 1  # a negative number is written as its two's complement
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _int(number: int, value: int) -> bytes:
    return _varint(number << 3) + _varint(value)


def _bytes(number: int, value: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(value)) + value


def _text(number: int, value: str) -> bytes:
    return _bytes(number, value.encode())


def _float(number: int, value: float) -> bytes:
    return _varint(number << 3 | 5) + struct.pack("<f", value)


def _attribute(name: str, value: Attribute) -> bytes:
    if isinstance(value, int):
        return _text(1, name) + _int(3, value) + _int(20, 2)
    if isinstance(value, float):
        return _text(1, name) + _float(2, value) + _int(20, 1)
    if isinstance(value, str):
        return _text(1, name) + _text(4, value) + _int(20, 3)
    return _text(1, name) + b"".join(_int(8, item) for item in value) + _int(20, 7)


def _tensor(name: str, values: Array) -> bytes:
    kind = _INT64 if values.dtype == np.int64 else _FLOAT
    raw = np.ascontiguousarray(values, dtype=_TYPES[kind]).astype(np.dtype(_TYPES[kind]).newbyteorder("<")).tobytes()
    dims = b"".join(_int(1, size) for size in values.shape)
    return dims + _int(2, kind) + _text(8, name) + _bytes(9, raw)


def _value_info(tensor: Tensor) -> bytes:
    dims = b"".join(_bytes(1, _int(1, size) if isinstance(size, int) else _text(2, size)) for size in tensor.shape)
    return _text(1, tensor.name) + _bytes(2, _bytes(1, _int(1, _FLOAT) + _bytes(2, dims)))


def _fields(content: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Yield the number and the value of each field of a message."""
    position = 0
    while position < len(content):
        key, position = _read_varint(content, position)
        number, wire = key >> 3, key & 7
        if wire == 0:
            value, position = _read_varint(content, position)
            yield number, value
            continue
        if wire == 2:
            size, position = _read_varint(content, position)
        elif wire in (1, 5):
            size = 8 if wire == 1 else 4
        else:
            raise ValueError(f"wire type {wire}")
        if position + size > len(content):
            raise ValueError("the message is incomplete")
        yield number, content[position : position + size]
        position += size


def _read_varint(content: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = content[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7
        if shift > 63:
            raise ValueError("a number is too long")


def _read_tensor(content: bytes) -> tuple[str, Array | None]:
    dims: list[int] = []
    kind, name, raw, floats = 0, "", b"", b""
    for number, value in _fields(content):
        if number == 1:
            if isinstance(value, int):
                dims.append(value)
            else:  # packed
                position = 0
                while position < len(value):
                    size, position = _read_varint(value, position)
                    dims.append(size)
        elif number == 2 and isinstance(value, int):
            kind = value
        elif number == 8 and isinstance(value, bytes):
            name = value.decode()
        elif number == 9 and isinstance(value, bytes):
            raw = value
        elif number == 4 and isinstance(value, bytes):
            floats += value
    if kind not in _TYPES:
        return name, None
    data = raw if raw or kind != _FLOAT else floats
    values = np.frombuffer(data, np.dtype(_TYPES[kind]).newbyteorder("<")).astype(_TYPES[kind]).reshape(dims)
    return name, values
