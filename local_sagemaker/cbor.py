"""CBOR as smithy-rpc-v2-cbor uses it (RFC 8949), for CloudWatch: botocore's decoder, and the encoder that it lacks.

botocore encodes requests only, by private methods; an answer needs the few types below.
"""

from __future__ import annotations

import io
import struct
from typing import Any

from botocore.parsers import BaseCBORParser, ResponseParserError

from local_sagemaker.errors import ServiceError

_UNSIGNED, _NEGATIVE, _TEXT, _ARRAY, _MAP, _TAG = 0, 1, 3, 4, 5, 6


class Timestamp(float):
    """Epoch seconds; CBOR marks them by tag 1, JSON does not."""


def loads(data: bytes) -> Any:
    """Plain values; timestamps as epoch seconds. Raises ServiceError."""
    parser: Any = BaseCBORParser(timestamp_parser=float)
    stream = io.BufferedReader(io.BytesIO(data))
    try:
        value = parser.parse_data_item(stream)
    except (ResponseParserError, ValueError, TypeError, OverflowError, MemoryError, RecursionError) as error:
        raise ServiceError("SerializationException", f"The body is not CBOR: {error}") from error
    if stream.read(1):
        raise ServiceError("SerializationException", "The body goes on after its CBOR value.")
    return value


def dumps(value: Any) -> bytes:
    """Encode dict, list, str, bool, int, float and Timestamp."""
    if isinstance(value, Timestamp):
        return _head(_TAG, 1) + struct.pack(">Bd", 0xFB, value)
    if isinstance(value, bool):
        return b"\xf5" if value else b"\xf4"
    if isinstance(value, int):
        return _head(_UNSIGNED, value) if value >= 0 else _head(_NEGATIVE, -1 - value)
    if isinstance(value, float):
        return struct.pack(">Bd", 0xFB, value)
    if isinstance(value, str):
        text = value.encode()
        return _head(_TEXT, len(text)) + text
    if isinstance(value, dict):
        return _head(_MAP, len(value)) + b"".join(dumps(key) + dumps(item) for key, item in value.items())
    return _head(_ARRAY, len(value)) + b"".join(map(dumps, value))


def _head(kind: int, number: int) -> bytes:
    """The first byte of an item and the number in it, or behind it in 1, 2, 4 or 8 bytes."""
    if number < 24:
        return bytes([kind << 5 | number])
    for code, size in ((24, 1), (25, 2), (26, 4), (27, 8)):
        if number < 1 << 8 * size:
            return bytes([kind << 5 | code]) + number.to_bytes(size, "big")
    raise OverflowError(f"{number} does not fit into CBOR's 8 bytes.")
