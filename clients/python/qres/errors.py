"""Failed calls, decoded."""

from __future__ import annotations

import grpc
from google.rpc import error_details_pb2, status_pb2

_NOT_ALLOWED = (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED)
"""What a node says of a caller's credential or role: the same call fails again until a person changes something."""
_BROKEN = ("RST_STREAM", "Stream removed", "GOAWAY")
"""What gRPC's library says of a stream that ended without an answer, where it does not say UNAVAILABLE."""


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

    @property
    def is_passing(self) -> bool:
        """Whether the same call may go well later: the node cannot be reached, or says when to try again."""
        if self.code in _NOT_ALLOWED:
            return False
        if self.retry_after is not None or self.code == grpc.StatusCode.UNAVAILABLE:
            return True
        # A node that was killed is UNAVAILABLE; these come from something in between that lost it.
        unclear = (grpc.StatusCode.UNKNOWN, grpc.StatusCode.INTERNAL, grpc.StatusCode.CANCELLED)
        return self.code in unclear and not self.reason and any(word in self.message for word in _BROKEN)

    def with_message(self, message: str) -> QresError:
        """The same failure in other words."""
        return QresError(self.code, message, self.reason, self.field, self.retry_after)
