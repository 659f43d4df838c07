"""Errors of the embedded SageMaker: what a client is told (`ServiceError`), and an operator (`ServerError`)."""

from __future__ import annotations


class ServiceError(Exception):
    """An answer with AWS's error code and HTTP status. `str(error)` is the message that the client reads."""

    def __init__(self, code: str, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.code = code
        self.status = status


class ServerError(Exception):
    """The server cannot be started, found or stopped; the message ends with the remedy."""


class JobError(Exception):
    """A job cannot go on for a reason that its owner must read, e.g. no data under an input URI."""


def validation(message: str) -> ServiceError:
    return ServiceError("ValidationException", message)


def in_use(message: str) -> ServiceError:
    return ServiceError("ResourceInUse", message)


def conflict(message: str) -> ServiceError:
    return ServiceError("ConflictException", message)
