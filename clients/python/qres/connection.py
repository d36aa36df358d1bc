"""The way to one node: its address, the channel, and failures that say what was tried."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from threading import Event
from typing import TypeVar

import grpc

from qres.address import MESH_PORT, Address
from qres.bearer import with_token
from qres.credentials import Credentials
from qres.errors import QresError
from qres.proxy import proxy_for
from qres.tracing import TracedChannel

T = TypeVar("T")

DEFAULT_ADDRESS = "127.0.0.1:4002"
OPTIONS = [
    # A model's schema may have some MiB; data comes in chunks.
    ("grpc.max_receive_message_length", 64 << 20),
    # A node that vanished while a fetch waits is noticed.
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 15_000),
    # A node that was started again is found soon: the library's own pauses grow to two minutes.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 5_000),
    # What a stream sends ahead of its reader: 4 MiB keep a way of 100 ms busy at 40 MB/s. The library's own window grows
    # with the measured rate, and then a slow reader of a fast node holds 70 MiB more than the model.
    ("grpc.http2.bdp_probe", 0),
    ("grpc.http2.lookahead_bytes", 4 << 20),
]

_CLOSED = ("Socket closed", "Secure read failed")
_TLS_HINTS = (
    ("CERTIFICATE_VERIFY_FAILED", "its certificate is not by a CA that this client trusts: see tls_ca"),
    ("is not in peer certificate", "its certificate has another name: see tls_name"),
    ("WRONG_VERSION_NUMBER", "it speaks no TLS: leave out https:// and tls_ca"),
)
"""Parts of the texts of gRPC's library about TLS, and what they mean."""


class Connection:
    """A channel to one node, and where it leads."""

    def __init__(self, address: str | None, credentials: Credentials):
        self.address = credentials.applied_to(_chosen(address))
        """Host and port, or the socket."""
        self.closed = Event()
        """Set when nothing more is to be tried."""
        options: list[tuple[str, int | str]] = [*OPTIONS]
        if self.address.is_local:
            options.append(("grpc.enable_http_proxy", 0))
        if self.address.path:
            # gRPC's library would send the path as the authority, with '%2F', which the node's HTTP/2 library refuses.
            options.append(("grpc.default_authority", "localhost"))
        # Before the channel: a token that others could read opens none.
        token = credentials.token_for(self.address)
        if self.address.tls:
            if credentials.tls_name:
                options.append(("grpc.ssl_target_name_override", credentials.tls_name))
            channel = grpc.secure_channel(self.address.target, credentials.for_channel(), options=options)
        else:
            channel = grpc.insecure_channel(self.address.target, options=options)
        self.channel = TracedChannel(with_token(channel, token) if token else channel)

    def close(self) -> None:
        """Ends the channel and the calls on it."""
        self.closed.set()
        self.channel.close()

    @contextmanager
    def decoded(self) -> Iterator[None]:
        """Turns a `grpc.RpcError` of the block into a `QresError` that says where the node was looked for."""
        try:
            yield
        except grpc.RpcError as error:
            decoded = QresError.of(error)
            if decoded.code == grpc.StatusCode.UNAVAILABLE and not decoded.reason:
                decoded = decoded.with_message(self._not_reached(decoded.message))
            raise decoded from error

    def decoded_stream(self, messages: Iterable[T]) -> Iterator[T]:
        """A stream whose failure is a `QresError`."""
        with self.decoded():
            yield from messages

    def _not_reached(self, problem: str) -> str:
        proxy = proxy_for(self.address)
        way = f" through the proxy {proxy}" if proxy else ""
        hint = self._hint(problem)
        return f"the node at {self.address}{hint} was not reached{way}, or the connection broke: {problem}"

    def _hint(self, problem: str) -> str:
        """What a person should look at first, if the failure shows it."""
        if self.address.port == MESH_PORT:
            return f" (port {MESH_PORT} is the mesh; the API listens on 4002 by default)"
        # Someone listens there, and ended the connection before its first answer.
        closed = problem.startswith("failed to connect") and problem.endswith(_CLOSED)
        if self.address.tls:
            if closed:
                return " (it may want a client certificate, or another one: see tls_cert)"
            return next((f" ({hint})" for sign, hint in _TLS_HINTS if sign in problem), "")
        if closed and not self.address.path:
            return " (it may speak TLS alone: use https:// or tls_ca)"
        return ""


def _chosen(address: str | None) -> Address:
    if address:
        return Address.parse(address)
    try:
        return Address.parse(os.environ.get("QRES_ADDR") or DEFAULT_ADDRESS)
    except ValueError as error:
        raise ValueError(f"QRES_ADDR: {error}") from None
