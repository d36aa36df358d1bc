"""Weights on their way from a node, going on where a break cut them."""

from __future__ import annotations

import os
from collections.abc import Callable
from io import FileIO
from pathlib import Path
from typing import Protocol

import grpc

from qres.connection import Connection
from qres.errors import QresError
from qres.patience import Patience
from qres.v1 import node_pb2, weights_pb2
from qres.v1.node_pb2_grpc import NodeServiceStub
from qres.v1.weights_pb2_grpc import WeightsServiceStub

try:
    import fcntl
except ImportError:  # no POSIX: then the mode is not checked
    fcntl = None


class Sink(Protocol):
    """Where a file's bytes go, in order."""

    total: int
    position: int

    def write(self, data: bytes) -> None:
        """Takes the next bytes."""


class DiskSink:
    """A file that is written beside its place and comes there when it is whole."""

    def __init__(self, path: str | os.PathLike, total: int):
        self._path = Path(path)
        self.total = total
        self.position = 0
        # One name: what a killed process left is written over, and does not fill the disk.
        self._part = self._path.with_name(f".{self._path.name}.part")
        self._file = _alone(self._part)

    def write(self, data: bytes) -> None:
        """Takes the next bytes."""
        data = memoryview(data)
        while len(data):
            written = self._file.write(data)
            data = data[written:]
            self.position += written

    def finish(self) -> None:
        """The file is whole: on the disk, then in its place."""
        os.fsync(self._file.fileno())
        self._release(lambda: self._part.replace(self._path))

    def discard(self) -> None:
        """The file will not be whole."""
        self._release(lambda: self._part.unlink(missing_ok=True))

    def _release(self, rename: Callable[[], object]) -> None:
        if not fcntl:  # no POSIX: an open file keeps its name
            self._file.close()
        # Before another fetch may have the name.
        rename()
        self._file.close()


class Download:
    """One fetch. Without patience its first failure is raised."""

    def __init__(
        self,
        connection: Connection,
        request: weights_pb2.FetchWeightsRequest,
        sink: Callable[[int], Sink],
        *,
        patience: Patience | None,
        timeout: float | None = None,
    ):
        self._connection = connection
        self._weights = WeightsServiceStub(connection.channel)
        self._nodes = NodeServiceStub(connection.channel)
        self._request = request
        self._make_sink = sink
        self._patience = patience
        self._timeout = timeout
        self.first: weights_pb2.FetchWeightsResponse | None = None
        """What describes the checkpoint."""
        self.sink: Sink | None = None
        """Where its bytes are; complete after `run`."""

    def run(self) -> None:
        """Fetches all of it."""
        while True:
            try:
                if self._patience and self._patience.is_down:
                    self._probe()
                self._attempt()
                return
            except QresError as error:
                self._failed(error)

    def _failed(self, error: QresError) -> None:
        if not self._patience:
            raise error
        gone = error.reason == "CHECKPOINT_NOT_HELD" and self.first is not None and not self._request.checkpoint
        if gone:
            # The head that was begun is too old by now: the next one is fetched whole.
            self.first = None
        self._patience.failed(error, again=gone)

    def _attempt(self) -> None:
        request = self._request
        if self.first is not None:
            trainer = request.trainer if request.HasField("trainer") else None
            request = weights_pb2.FetchWeightsRequest(
                model=request.model,
                checkpoint=self.first.checkpoint.id,
                offset=self.sink.position,
                trainer=trainer,
            )
        timeout = self._patience.left() if self._patience else self._timeout
        messages = self._connection.decoded_stream(self._weights.FetchWeights(request, timeout=timeout))
        first = next(messages, None)
        if first is None:
            raise _cut(0, 0)
        if self.first is not None and first.personal_digest != self.first.personal_digest:
            # The trainer has submitted meanwhile: the file is another one by now.
            self.first = None
            messages.close()
            return self._attempt()
        if self.first is None:
            self._begin(first)
        if self._patience:
            self._patience.progressed()
        for message in messages:
            self.sink.write(message.data)
        if self.sink.position != self.sink.total:
            raise _cut(self.sink.position, self.sink.total)

    def _begin(self, first: weights_pb2.FetchWeightsResponse) -> None:
        self.discard()
        self.first = first
        self.sink = self._make_sink(first.total_bytes)

    def discard(self) -> None:
        """Gives up what came so far."""
        if isinstance(self.sink, DiskSink):
            self.sink.discard()
        self.sink = None

    def _probe(self) -> None:
        """Asks for little: the fetch itself may wait for hours before it shows that the node is there."""
        try:
            with self._connection.decoded():
                self._nodes.GetNode(node_pb2.GetNodeRequest(), timeout=self._patience.left())
        except QresError as error:
            if error.is_passing or error.code == grpc.StatusCode.DEADLINE_EXCEEDED:
                raise
        self._patience.reached()


def _alone(path: Path) -> FileIO:
    """An empty file that no other fetch writes to."""
    while True:
        file = open(path, "ab", buffering=0)
        try:
            if fcntl:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # The one that held it before may have renamed or removed it since it was opened here.
            if path.exists() and os.path.samestat(os.fstat(file.fileno()), path.stat()):
                file.truncate(0)
                return file
        except BlockingIOError:
            file.close()
            raise BlockingIOError(f"{path}: another fetch writes to it") from None
        file.close()


def _cut(position: int, total: int) -> QresError:
    message = f"the data ended after {position} of {total} bytes: fetch again"
    return QresError(grpc.StatusCode.UNAVAILABLE, message, "", "", None)

