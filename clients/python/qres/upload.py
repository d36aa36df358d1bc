"""Files on their way to a node: in chunks, and going on where a break cut them."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

from qres.connection import Connection
from qres.errors import QresError
from qres.patience import LOG, Patience
from qres.v1 import weights_pb2
from qres.v1.weights_pb2_grpc import WeightsServiceStub

CHUNK_BYTES_MAX = 1 << 20
"""Data in one message, as the contract bounds it."""
_ASK_AGAIN = ("OFFSET_PAST_KEPT", "UPLOAD_OVERTAKEN")
"""What an upload is told whose place is another one than it thinks: the node is asked for it anew."""


class Content(Protocol):
    """The bytes of a file that can be read again from any offset."""

    total_bytes: int

    def chunks(self, offset: int, size: int) -> Iterator[bytes]:
        """The bytes from there on, `size` at a time."""


class DiskFile:
    """A file on the disk. It must stay as it is until it is sent."""

    def __init__(self, path: str | os.PathLike):
        self._path = path
        self.total_bytes = os.stat(path).st_size

    def chunks(self, offset: int, size: int) -> Iterator[bytes]:
        """The bytes from there on, `size` at a time."""
        with open(self._path, "rb", buffering=0) as file:
            file.seek(offset)
            while data := file.read(size):
                yield data


class Upload:
    """One call that sends a header and a file, and is tried again until it is answered.

    The first attempt sends the file from its beginning, also under a key that the caller gave: bytes that another process
    left under it may be those of another file.
    """

    def __init__(
        self,
        connection: Connection,
        call: Callable,
        header: Any,
        content: Content | None,
        patience: Patience,
        more: Sequence[Any] = (),
    ):
        self._connection = connection
        self._uploads = WeightsServiceStub(connection.channel)
        self._call = call
        self._header = header
        self._content = content
        self._patience = patience
        # What follows the header when there is no content.
        self._more = more
        # The name of a random number: no other upload has it.
        header.idempotency_key = header.idempotency_key or uuid.uuid4().hex
        if content is not None:
            header.total_bytes = content.total_bytes

    def run(self) -> Any:
        """The answer."""
        offset = 0
        while True:
            try:
                # After a break, so that a node that is away is asked for little.
                if self._patience.is_down:
                    offset = self._kept(offset)
                answer = self._attempt(offset)
                self._patience.progressed()
                return answer
            except QresError as error:
                self._patience.failed(error, again=error.reason in _ASK_AGAIN)

    def _attempt(self, offset: int) -> Any:
        failures: list[Exception] = []
        with self._connection.decoded():
            try:
                return self._call(self._messages(offset, failures), timeout=self._patience.left())
            except Exception:
                # gRPC's library would only say that the messages could not be made.
                if failures:
                    raise failures[0] from None
                raise

    def _kept(self, before: int) -> int:
        """Bytes that the node has kept: the next attempt's offset."""
        request = weights_pb2.GetUploadRequest(idempotency_key=self._header.idempotency_key)
        with self._connection.decoded():
            kept = self._uploads.GetUpload(request, timeout=self._patience.left()).kept_bytes
        total = self._content.total_bytes if self._content else 0
        if kept > total:  # another file's, under a key that the caller gave
            kept = 0
        if kept > before:
            self._patience.progressed()
        LOG.info("an upload to the node at %s goes on from byte %d of %d", self._connection.address, kept, total)
        return kept

    def _messages(self, offset: int, failures: list[Exception]) -> Iterator:
        """The header with the first chunk, then chunks."""
        header = type(self._header)()
        header.CopyFrom(self._header)
        header.offset = offset
        message = header
        try:
            for chunk in self._content.chunks(offset, CHUNK_BYTES_MAX) if self._content else ():
                message.data = chunk
                yield message
                message = type(header)()
        except Exception as error:
            failures.append(error)
            raise
        if message is header:
            yield message
            yield from self._more
