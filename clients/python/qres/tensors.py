"""Tensors as safetensors files, and back, with each byte in memory once."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from qres.layout import LENGTH_BYTES, Slot, header_bytes, header_of, slots_of


class TensorFile:
    """The safetensors file of named arrays, never joined: pieces of it are made from the arrays' own memory.

    The arrays must stay as they are until it is sent.
    """

    def __init__(self, tensors: Mapping[str, np.ndarray]):
        arrays = {name: np.asarray(array) for name, array in tensors.items()}
        self._header, names = header_of(arrays)
        self._arrays = [arrays[name] for name in names]
        self.total_bytes = len(self._header) + sum(array.nbytes for array in self._arrays)

    def pieces(self, offset: int = 0) -> Iterator[memoryview]:
        """The file's bytes from an offset on, as few pieces as possible."""
        if offset < len(self._header):
            yield memoryview(self._header)[offset:]
        start = len(self._header)
        for array in self._arrays:
            end = start + array.nbytes
            if offset < end:
                # A view that is not contiguous, or big-endian, is turned here: one tensor at a time is held twice.
                yield memoryview(_bytes_of(array))[max(0, offset - start) :]
            start = end

    def chunks(self, offset: int, size: int) -> Iterator[bytes]:
        """The same in chunks of `size` bytes, the last one shorter."""
        gathered, missing = [], size
        for piece in self.pieces(offset):
            while len(piece):
                part, piece = piece[:missing], piece[missing:]
                gathered.append(part)
                missing -= len(part)
                if not missing:
                    yield b"".join(gathered)
                    gathered, missing = [], size
        if gathered:
            yield b"".join(gathered)


class Arrays:
    """Fills arrays from a safetensors file that comes in pieces of any length, in order."""

    def __init__(self, total: int):
        self.total = total
        """Bytes of the whole file."""
        self.position = 0
        """Bytes that came."""
        self.tensors: dict[str, np.ndarray] = {}
        """The arrays, writable; complete when all bytes came."""
        self._start = bytearray()
        self._slots: Iterator[Slot] | None = None
        self._rest = memoryview(b"")

    def write(self, data: bytes | memoryview) -> None:
        """Takes the next bytes."""
        data = memoryview(data)
        if self.position + len(data) > self.total:
            raise ValueError(f"more than the {self.total} bytes came that the file has")
        self.position += len(data)
        if self._slots is None:
            data = self._take_header(data)
        while len(data):
            if not len(self._rest):
                self._rest = self._next_room()
                continue
            part = min(len(data), len(self._rest))
            self._rest[:part] = data[:part]
            data, self._rest = data[part:], self._rest[part:]

    def finish(self) -> dict[str, np.ndarray]:
        """The arrays of the whole file."""
        if self.position != self.total or self._slots is None:
            raise ValueError(f"safetensors file: incomplete: {self.position} of {self.total} bytes came")
        return self.tensors

    def _take_header(self, data: memoryview) -> memoryview:
        """Gathers the header; what follows it in `data`."""
        for _ in range(2):
            wanted = LENGTH_BYTES
            if len(self._start) >= LENGTH_BYTES:
                wanted += header_bytes(self._start, self.total)
            part = max(0, wanted - len(self._start))
            self._start += data[:part]
            data = data[part:]
        if len(self._start) < LENGTH_BYTES or len(self._start) < LENGTH_BYTES + header_bytes(self._start, self.total):
            return data
        slots = slots_of(bytes(self._start[LENGTH_BYTES:]), self.total)
        # Memory that is not written to takes no room yet.
        self.tensors = {slot.name: np.empty(slot.shape, slot.dtype) for slot in slots}
        self._slots = iter(slots)
        return data

    def _next_room(self) -> memoryview:
        return memoryview(_bytes_of(self.tensors[next(self._slots).name]))


def dump(tensors: Mapping[str, np.ndarray]) -> bytes:
    """The safetensors file of named arrays. Scalars and empty arrays stay what they are."""
    return b"".join(TensorFile(tensors).pieces())


def load(file: bytes) -> dict[str, np.ndarray]:
    """The named arrays of a safetensors file, writable. bfloat16 needs the package `ml_dtypes`."""
    arrays = Arrays(len(file))
    arrays.write(file)
    return arrays.finish()


def load_file(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """The named arrays of a safetensors file on the disk, writable and in memory."""
    with open(path, "rb", buffering=0) as file:
        arrays = Arrays(os.fstat(file.fileno()).st_size)
        while data := file.read(1 << 20):
            arrays.write(data)
        return arrays.finish()


def open_file(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """The named arrays of a safetensors file, read from the disk when they are used.

    They cannot be written to: `.copy()` those that you change. The file must not be written to meanwhile; a new one may
    take its place by a rename.
    """
    total = Path(path).stat().st_size
    with open(path, "rb") as file:
        length = header_bytes(file.read(LENGTH_BYTES), total)
        slots = slots_of(file.read(length), total)
    whole = np.memmap(path, np.uint8, mode="r")
    parts = {slot.name: whole[slot.start : slot.start + slot.bytes] for slot in slots}
    return {slot.name: parts[slot.name].view(slot.dtype).reshape(slot.shape) for slot in slots}


def _bytes_of(array: np.ndarray) -> np.ndarray:
    """An array's memory, little-endian and in C order; a copy only where it is not so already."""
    little = array.dtype.newbyteorder("<") if array.dtype.byteorder == ">" else None
    return np.ascontiguousarray(array, little).reshape(-1).view(np.uint8)
