"""Failed calls, decoded."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import grpc
from google.rpc import error_details_pb2, status_pb2

T = TypeVar("T")


class QresError(Exception):
    """A call that a node refused, or that did not reach one."""

    def __init__(self, code: grpc.StatusCode, message: str, reason: str, field: str, retry_after: float | None):
        self.code = code
        """The canonical code, e.g. `grpc.StatusCode.NOT_FOUND`."""
        self.message = message
        """For people: what is wrong, the limit and the remedy."""
        self.reason = reason
        """For programs, e.g. `MODEL_UNKNOWN`; empty when it is not the node that answered."""
        self.field = field
        """The field at fault; empty when there is none."""
        self.retry_after = retry_after
        """Seconds after which trying again makes sense, or `None`."""
        named = f"{field}: " if field and not message.startswith(field) else ""
        super().__init__(f"{named}{message} [{' '.join(filter(None, (code.name, reason)))}]")

    @classmethod
    def of(cls, error: grpc.RpcError) -> QresError:
        """Reads the google.rpc details that came with a failed call, as far as there are any."""
        status = status_pb2.Status()
        for key, value in error.trailing_metadata() or ():
            if key == "grpc-status-details-bin":
                status.ParseFromString(value)
        reason, field, retry_after = "", "", None
        info, request, retry = (
            error_details_pb2.ErrorInfo(),
            error_details_pb2.BadRequest(),
            error_details_pb2.RetryInfo(),
        )
        for detail in status.details:
            if detail.Unpack(info):
                reason, field = info.reason, info.metadata.get("field", field)
            elif detail.Unpack(request) and request.field_violations:
                field = field or request.field_violations[0].field
            elif detail.Unpack(retry):
                retry_after = retry.retry_delay.ToTimedelta().total_seconds()
        return cls(error.code(), error.details() or "", reason, field, retry_after)


@contextmanager
def decoded() -> Iterator[None]:
    """Turns a `grpc.RpcError` of the block into a `QresError`."""
    try:
        yield
    except grpc.RpcError as error:
        raise QresError.of(error) from error


def decoded_stream(messages: Iterable[T]) -> Iterator[T]:
    """A stream whose failure is a `QresError`."""
    with decoded():
        yield from messages
