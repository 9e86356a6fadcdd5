"""Write Python values as C text: numbers, strings and constant arrays."""

import textwrap
from typing import Any

import numpy as np
from numpy.typing import NDArray

_LINE_LENGTH = 120
_TYPES = {"float32": "float", "int8": "int8_t", "uint8": "uint8_t", "uint16": "uint16_t"}


def number(value: float) -> str:
    """Return a float literal that is read as the same float32."""
    text = f"{value:.9g}"
    return (text if "." in text or "e" in text else text + ".0") + "f"


def string(text: str) -> str:
    """Return a string literal in UTF-8. Bytes that are not plain ASCII are written in octal."""
    plain = (chr(byte) if 32 <= byte < 127 and byte not in b'"\\?' else f"\\{byte:03o}" for byte in text.encode())
    return '"' + "".join(plain) + '"'


def array(name: str, values: NDArray[Any]) -> str:
    """Return the definition of a constant array with flattened values."""
    flat = values.ravel().tolist()
    items = map(number, flat) if values.dtype == np.float32 else map(str, flat)
    return braced(f"static const {_TYPES[values.dtype.name]} {name}[{values.size}]", ", ".join(items))


def braced(declaration: str, items: str) -> str:
    """Return a definition with its comma-separated items in braces, wrapped to lines."""
    lines = textwrap.fill(items, _LINE_LENGTH, initial_indent="    ", subsequent_indent="    ", break_long_words=False)
    return f"{declaration} = {{\n{lines}\n}};"
