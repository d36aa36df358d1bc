"""The way to one node: its address, the channel, and failures that say what was tried."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from threading import Event
from typing import TypeVar

import grpc

from qres.address import MESH_PORT, Address
from qres.errors import QresError
from qres.proxy import proxy_for

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
]


class Connection:
    """A channel to one node, and where it leads."""

    def __init__(self, address: str | None):
        self.address = _chosen(address)
        """Host and port."""
        self.closed = Event()
        """Set when nothing more is to be tried."""
        options = [*OPTIONS, ("grpc.enable_http_proxy", 0)] if self.address.is_loopback else OPTIONS
        # With the scheme a host whose name is one (`unix`, `dns`) stays a host.
        self.channel = grpc.insecure_channel(f"dns:///{self.address}", options=options)

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
        hint = ""
        if self.address.port == MESH_PORT:
            hint = f" (port {MESH_PORT} is the mesh; the API listens on 4002 by default)"
        return f"the node at {self.address}{hint} was not reached{way}, or the connection broke: {problem}"


def _chosen(address: str | None) -> Address:
    if address:
        return Address.parse(address)
    try:
        return Address.parse(os.environ.get("QRES_ADDR") or DEFAULT_ADDRESS)
    except ValueError as error:
        raise ValueError(f"QRES_ADDR: {error}") from None
