"""The bearer token that goes with every call."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import grpc

from qres.patience import LOG

Continuation = Callable[[grpc.ClientCallDetails, Any], Any]


def checked(token: str) -> str:
    """The token, if it can be sent. `ValueError` does not show it."""
    if not token:
        raise ValueError("the token is empty")
    # Anything else gRPC's library would refuse with the token in its message.
    if not re.fullmatch(r"[!-~]+", token):
        raise ValueError("the token has characters that no token has")
    return token


class TokenFile:
    """A token in a file, which is read again for each call: a new token works at once."""

    def __init__(self, path: str | os.PathLike[str]):
        self._path = path
        self._problem = ""
        try:
            self._last = self._read()
        except (OSError, ValueError) as error:
            raise ValueError(f"the token cannot be read: {self._named(error)}") from None

    def __call__(self) -> str:
        """The token now. While the file has none, the last one holds."""
        problem = ""
        try:
            self._last = self._read()
        except (OSError, ValueError) as error:
            problem = self._named(error)
        if problem and problem != self._problem:
            LOG.warning("the token cannot be read again, the last one is used: %s", problem)
        self._problem = problem
        return self._last

    def _read(self) -> str:
        with open(self._path, encoding="utf-8", errors="replace") as file:
            return checked(file.read().strip())

    def _named(self, error: Exception) -> str:
        return str(error) if isinstance(error, OSError) else f"{os.fspath(self._path)}: {error}"


def with_token(channel: grpc.Channel, token: Callable[[], str]) -> grpc.Channel:
    """The channel, with the token in the metadata of every call. gRPC's own call credentials need TLS; this works on
    loopback and a Unix socket too."""
    return grpc.intercept_channel(channel, _Bearer(token))


@dataclass(frozen=True)
class _Call(grpc.ClientCallDetails):
    method: str
    timeout: float | None
    metadata: Any
    credentials: grpc.CallCredentials | None
    wait_for_ready: bool | None
    compression: grpc.Compression | None


class _Bearer(
    grpc.UnaryUnaryClientInterceptor,
    grpc.UnaryStreamClientInterceptor,
    grpc.StreamUnaryClientInterceptor,
    grpc.StreamStreamClientInterceptor,
):
    def __init__(self, token: Callable[[], str]):
        self._token = token

    def _intercept(self, continuation: Continuation, details: Any, request: Any) -> Any:
        metadata = [*(details.metadata or ()), ("authorization", f"Bearer {self._token()}")]
        call = _Call(
            details.method,
            details.timeout,
            metadata,
            details.credentials,
            details.wait_for_ready,
            details.compression,
        )
        return continuation(call, request)

    intercept_unary_unary = _intercept
    intercept_unary_stream = _intercept
    intercept_stream_unary = _intercept
    intercept_stream_stream = _intercept
