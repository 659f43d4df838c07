"""The wire protocols, driven by botocore's own service models: requests validated, responses written.

SageMaker and CloudWatch Logs speak json 1.1. CloudWatch speaks smithy-rpc-v2-cbor to newer SDKs and json 1.0 to others;
it once spoke query (XML), and kept that protocol's error codes.

botocore's ParamValidator knows types, required members and minima; AWS also enforces patterns, maxima and enums, and
says so in the words used here, so the walk over the shapes is our own. Source of the wording: answers of AWS, "N
validation errors detected: Value 'x' at 'member' failed to satisfy constraint: ...".
"""

from __future__ import annotations

import base64
import binascii
import json
import math
import re
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

from botocore.loaders import Loader
from botocore.model import OperationModel, ServiceModel, Shape

from local_sagemaker import cbor
from local_sagemaker.errors import ServiceError, validation

_KINDS: dict[str, Any] = {
    "structure": dict, "map": dict, "list": list, "string": str, "boolean": bool, "integer": int, "long": int,
    "float": (int, float), "double": (int, float), "timestamp": (int, float, str), "blob": str,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Wire:
    """How a body is written; `head` are the header lines of every answer."""

    head: str
    loads: Callable[[bytes], Any]
    dumps: Callable[[Any], bytes]


def _json_loads(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        raise ServiceError("SerializationException", f"The body is not JSON: {error}") from error


def _json_dumps(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


JSON = Wire("content-type: application/x-amz-json-1.1\r\n", _json_loads, _json_dumps)
CBOR = Wire("content-type: application/cbor\r\nsmithy-protocol: rpc-v2-cbor\r\n", cbor.loads, cbor.dumps)


def operation_of(method: str, path: str, headers: dict[str, str]) -> tuple[Wire, str, str]:
    """The wire, target prefix and operation that a request names; two empty strings if it names none."""
    parts = path.split("/")
    if headers.get("smithy-protocol") == "rpc-v2-cbor":
        named = method == "POST" and len(parts) == 5 and parts[1] == "service" and parts[3] == "operation"
        return CBOR, parts[2] if named else "", parts[4] if named else ""
    prefix, _, name = headers.get("x-amz-target", "").partition(".")
    return (JSON, prefix, name) if method == "POST" and path == "/" else (JSON, "", "")


@cache
def service(name: str) -> ServiceModel:
    """botocore's model of a service, e.g. 'sagemaker', 'sagemaker-runtime', 'logs'."""
    return ServiceModel(Loader().load_service_model(name, "service-2"), name)


def parse(operation: OperationModel, body: bytes, wire: Wire = JSON) -> dict[str, Any]:
    """The request as a dict of plain JSON values. Raises ServiceError with all violations in one message."""
    request = wire.loads(body) if body else {}
    if not isinstance(request, dict):
        raise ServiceError("SerializationException", "The body is not an object.")
    shape = operation.input_shape
    if shape is None:
        return {}
    request = _without_nulls(request)
    found = list(_violations(shape, request, ""))
    if found:
        noun = "error" if len(found) == 1 else "errors"
        message = f"{len(found)} validation {noun} detected: {'; '.join(found)}"
        once_query = "awsQueryCompatible" in operation.service_model.metadata
        raise ServiceError("ValidationError", message) if once_query else validation(message)
    return request


def serialize(operation: OperationModel, response: dict[str, Any], wire: Wire = JSON) -> bytes:
    """The response in the shape of the model: absent members left out, the server's own members ('_...') never sent."""
    shape = operation.output_shape
    if shape is None:
        return b"" if wire is JSON else wire.dumps({})
    return wire.dumps(_outgoing(shape, response, operation.name))


def error_head(error: ServiceError, wire: Wire = JSON) -> str:
    """The header lines that name an error; in CBOR also by its code in the query protocol, which botocore reports."""
    head = f"x-amzn-errortype: {error.code}\r\n"
    side = "Sender" if error.status < 500 else "Receiver"
    return f"{head}x-amzn-query-error: {error.code};{side}\r\n" if wire is CBOR else head


def serialize_error(error: ServiceError, wire: Wire = JSON) -> bytes:
    return wire.dumps({"__type": error.code, "message": str(error), "Message": str(error)})


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nulls(item) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        return [_without_nulls(item) for item in value]
    return value


def _violations(shape: Shape, value: Any, where: str) -> Iterator[str]:
    expected = _KINDS[shape.type_name]
    if not isinstance(value, expected) or (isinstance(value, bool) and shape.type_name != "boolean"):
        yield _failed(value, where, f"Member must be of type {shape.type_name}")
        return
    if shape.type_name == "structure":
        yield from _structure_violations(shape, value, where)
    elif shape.type_name == "list":
        yield from _range_violations(shape, len(value), value, where, "length")
        for number, item in enumerate(value, start=1):
            yield from _violations(shape.member, item, f"{where}.{number}.member")
    elif shape.type_name == "map":
        yield from _range_violations(shape, len(value), value, where, "length")
        for key, item in value.items():
            yield from _violations(shape.key, key, f"{where}.key")
            yield from _violations(shape.value, item, f"{where}.{key}.value")
    elif shape.type_name == "string":
        yield from _string_violations(shape, value, where)
    elif shape.type_name in ("integer", "long", "float", "double"):
        yield from _number_violations(shape, value, where)
    elif shape.type_name == "blob":
        yield from _blob_violations(shape, value, where)


def _structure_violations(shape: Any, value: dict[str, Any], where: str) -> Iterator[str]:
    for name in shape.required_members:
        if name not in value:
            yield f"Value null at '{_path(where, name)}' failed to satisfy constraint: Member must not be null"
    for name, item in value.items():
        if name not in shape.members:
            yield _failed(item, _path(where, name), "Member must be one of the model")
        else:
            yield from _violations(shape.members[name], item, _path(where, name))


def _string_violations(shape: Any, value: str, where: str) -> Iterator[str]:
    yield from _range_violations(shape, len(value), value, where, "length")
    if shape.enum and value not in shape.enum:
        allowed = ", ".join(shape.enum)
        yield _failed(value, where, f"Member must satisfy enum value set: [{allowed}]")
    pattern = shape.metadata.get("pattern")
    if pattern and not compiled(pattern).fullmatch(value):
        yield _failed(value, where, f"Member must satisfy regular expression pattern: {pattern}")


def _number_violations(shape: Shape, value: float, where: str) -> Iterator[str]:
    if not math.isfinite(value):
        yield f"Value '{value}' at '{where}' failed to satisfy constraint: Member must be a finite number"
    else:
        yield from _range_violations(shape, value, value, where, "value")


def _blob_violations(shape: Shape, value: str, where: str) -> Iterator[str]:
    try:
        yield from _range_violations(shape, len(base64.b64decode(value, validate=True)), "blob", where, "length")
    except binascii.Error:
        yield f"Value at '{where}' failed to satisfy constraint: Member must be base64"


def _range_violations(shape: Shape, size: float, value: Any, where: str, noun: str) -> Iterator[str]:
    low, high = shape.metadata.get("min"), shape.metadata.get("max")
    if low is not None and size < low:
        yield _failed(value, where, f"Member must have {noun} greater than or equal to {low}")
    if high is not None and size > high:
        yield _failed(value, where, f"Member must have {noun} less than or equal to {high}")


def _failed(value: Any, where: str, constraint: str) -> str:
    return f"Value '{_shown(value)}' at '{where}' failed to satisfy constraint: {constraint}"


def _path(where: str, name: str) -> str:
    short = name[:1].lower() + name[1:]
    return f"{where}.{short}" if where else short


def _shown(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 256 else f"{text[:256]}..."


@cache
def compiled(pattern: str) -> re.Pattern[str]:
    """A Java pattern of the service model as a Python one: Unicode classes, surrogates and `${1,128}` translated."""
    text = re.sub(r"\$\{\d+,\d+\}", "", pattern)
    text = text.replace(r"\uD800\uDC00-\uDBFF\uDFFF", r"\U00010000-\U0010FFFF")
    text = text.replace(r"\w-", r"\w\-").replace(r"\z", r"\Z").replace(r"\p{ASCII}", r"[\x00-\x7f]")
    text = text.replace(r"\p{Alnum}", "a-zA-Z0-9").replace(r"\p{Alpha}", "a-zA-Z").replace(r"\p{Print}", " -~")
    text = re.sub(r"\\p\{([A-Z][a-z]?)\}", lambda match: _category(match.group(1)), text)
    return re.compile(text)


@cache
def _category(name: str) -> str:
    """The characters of a Unicode general category (`L`, `Lu`) as ranges for a character class, up to plane 2."""
    ranges: list[list[int]] = []
    for code in range(0x20000):
        if unicodedata.category(chr(code)).startswith(name):
            if ranges and ranges[-1][1] == code - 1:
                ranges[-1][1] = code
            else:
                ranges.append([code, code])
    return "".join(f"{re.escape(chr(low))}-{re.escape(chr(high))}" for low, high in ranges)


def _outgoing(shape: Any, value: Any, where: str) -> Any:
    if shape.type_name == "structure":
        extra = [name for name in value if not name.startswith("_") and name not in shape.members]
        if extra:
            raise TypeError(f"{where} has no member {extra}; this is a mistake of the server.")
        return {
            name: _outgoing(member, value[name], f"{where}.{name}")
            for name, member in shape.members.items()
            if value.get(name) is not None
        }
    if shape.type_name == "list":
        return [_outgoing(shape.member, item, where) for item in value]
    if shape.type_name == "map":
        return {key: _outgoing(shape.value, item, where) for key, item in value.items()}
    if shape.type_name == "timestamp":
        return cbor.Timestamp(value)
    if shape.type_name == "double":
        return float(value)
    return value
