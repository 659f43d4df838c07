"""What a client of an endpoint reads where it is not the model's own answer: errors, and the framing of a stream."""

from __future__ import annotations

import json
import struct
import zlib

from local_sagemaker import ACCOUNT
from local_sagemaker.endpoints.upstream import Answer
from local_sagemaker.endpoints.worker import Fleet
from local_sagemaker.errors import ServiceError
from local_sagemaker.http1 import Connection, Request

_PART = 64 * 1024  # bytes of one PayloadPart


def refuse(connection: Connection, request: Request, error: ServiceError, head: str = "") -> None:
    """Answer with an error of the runtime; `head` is more header lines, e.g. those that name the variant."""
    head += f"x-amzn-requestid: {request.id}\r\ncontent-type: application/json\r\nx-amzn-errortype: {error.code}\r\n"
    connection.respond(error.status, head, json.dumps({"message": str(error), "Message": str(error)}).encode())


def gone(fleet: Fleet) -> ServiceError:
    message = f"The worker of variant {fleet.name} went away before it answered; it is restarted. Try again."
    return ServiceError("ServiceUnavailable", message, 503)


def model_error(region: str, endpoint: str, answer: Answer) -> dict[str, object]:
    """The body of a ModelError, for a worker's answer that is not 200."""
    text = answer.body.decode("utf-8", "replace")
    side = "client" if answer.status < 500 else "server"
    group = f"/aws/sagemaker/Endpoints/{endpoint}"
    return {
        "Message": f'Received {side} error ({answer.status}) from primary with message "{text}". See {group}.',
        "OriginalStatusCode": answer.status,
        "OriginalMessage": text,
        "LogStreamArn": f"arn:aws:logs:{region}:{ACCOUNT}:log-group:{group}",
    }


def payload_parts(body: bytes) -> bytes:
    """A body as PayloadPart events of the encoding application/vnd.amazon.eventstream (Smithy, "Event stream").

    A message is its length, the length of its headers, the CRC of both, headers, payload, and the CRC of all of it.
    """
    headers = b"".join(
        struct.pack(f"!B{len(name)}sBH{len(value)}s", len(name), name, 7, len(value), value)  # 7: a string
        for name, value in (
            (b":event-type", b"PayloadPart"),
            (b":content-type", b"application/octet-stream"),
            (b":message-type", b"event"),
        )
    )
    messages = []
    for start in range(0, len(body), _PART):
        payload = body[start : start + _PART]
        lengths = struct.pack("!II", 16 + len(headers) + len(payload), len(headers))
        message = lengths + struct.pack("!I", zlib.crc32(lengths)) + headers + payload
        messages.append(message + struct.pack("!I", zlib.crc32(message)))
    return b"".join(messages)
