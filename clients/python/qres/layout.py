"""Where a safetensors file has its tensors: the header, written and read."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

LENGTH_BYTES = 8
"""The header's length, before the header."""
HEADER_BYTES_MAX = 100_000_000
"""As the format's own library bounds it."""

# In the order in which the library lays them out: large elements first, so that each lies at a multiple of its size.
_DTYPES = {
    "U64": "<u8", "I64": "<i8", "F64": "<f8",
    "F32": "<f4", "U32": "<u4", "I32": "<i4",
    "BF16": None, "F16": "<f2", "U16": "<u2", "I16": "<i2",
    "I8": "i1", "U8": "u1", "BOOL": "?",
}  # fmt: skip


def dtype_name(name: str, dtype: np.dtype) -> str:
    """What safetensors calls a dtype."""
    for known, native in _DTYPES.items():
        if native is not None and dtype.newbyteorder("<") == np.dtype(native):
            return known
    if dtype.name == "bfloat16":
        return "BF16"
    raise ValueError(f"tensor {name!r}: safetensors has no name for {dtype}")


def dtype_of(name: str, dtype: str) -> np.dtype:
    """NumPy's dtype. bfloat16 needs the package `ml_dtypes`."""
    if dtype == "BF16":
        try:
            import ml_dtypes
        except ImportError:
            raise ValueError(f"tensor {name!r} is bfloat16: pip install ml_dtypes to read it into NumPy") from None
        return np.dtype(ml_dtypes.bfloat16)
    if dtype not in _DTYPES:
        raise ValueError(f"tensor {name!r}: NumPy has no dtype for {dtype}")
    return np.dtype(_DTYPES[dtype])


@dataclass(frozen=True)
class Slot:
    """One tensor's place in a file."""

    name: str
    dtype: np.dtype
    shape: tuple[int, ...]
    start: int
    """First byte in the file."""
    bytes: int


def header_of(arrays: Mapping[str, np.ndarray]) -> tuple[bytes, list[str]]:
    """A file's first bytes (the length and the header) and the names in the order of their data: what the format's own
    library writes for these tensors."""
    ranks = {dtype: rank for rank, dtype in enumerate(_DTYPES)}
    dtypes = {name: dtype_name(name, array.dtype) for name, array in arrays.items()}
    names = sorted(arrays, key=lambda name: (ranks[dtypes[name]], name))
    entries, end = {}, 0
    for name in names:
        start, end = end, end + arrays[name].nbytes
        entries[name] = {"dtype": dtypes[name], "shape": arrays[name].shape, "data_offsets": [start, end]}
    text = json.dumps(entries, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(LENGTH_BYTES, "little") + text, names


def header_bytes(start: bytes, total: int) -> int:
    """The length of a header that `start` announces, checked against the file's length before anything is allocated."""
    length = int.from_bytes(start[:LENGTH_BYTES], "little")
    if len(start) < LENGTH_BYTES or length > min(HEADER_BYTES_MAX, total - LENGTH_BYTES):
        problem = f"safetensors header: {length} bytes announced in a file of {total}"
        raise ValueError(f"{problem}: it is cut, or no safetensors")
    return length


def slots_of(header: bytes, total: int) -> list[Slot]:
    """Each tensor's place, in the order of the data. `header` is the JSON, `total` the file's length. The tensors fill the
    file without holes or overlaps, or it is an error."""
    try:
        entries = json.loads(header)
        slots = [_slot(name, entry) for name, entry in entries.items() if name != "__metadata__"]
    except (AttributeError, KeyError, TypeError, UnicodeError, RecursionError, json.JSONDecodeError) as error:
        raise ValueError(f"safetensors header: invalid ({error!r})") from None
    slots.sort(key=lambda slot: (slot.start, slot.bytes))
    data = LENGTH_BYTES + len(header)
    end = 0
    for slot in slots:
        if slot.start != end:
            raise ValueError(f"safetensors header: invalid: tensor {slot.name!r} begins at {slot.start}, not at {end}")
        end += slot.bytes
    if data + end != total:
        raise ValueError(f"safetensors file: incomplete: {end} bytes of data in the header, {total - data} are there")
    return [Slot(slot.name, slot.dtype, slot.shape, data + slot.start, slot.bytes) for slot in slots]


def _slot(name: str, entry: dict) -> Slot:
    dtype, shape, (start, end) = dtype_of(name, entry["dtype"]), tuple(entry["shape"]), entry["data_offsets"]
    if not all(type(number) is int and number >= 0 for number in (*shape, start, end)):
        raise ValueError(f"safetensors header: invalid: tensor {name!r} has a number that is no size")
    if end - start != math.prod(shape) * dtype.itemsize:
        raise ValueError(f"safetensors header: invalid: tensor {name!r} has {end - start} bytes for {shape} of {dtype}")
    return Slot(name, dtype, shape, start, end - start)
