"""Tensors as safetensors files."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import safetensors
import safetensors.numpy

_DTYPES = {
    "F64": np.float64, "F32": np.float32, "F16": np.float16,
    "I64": np.int64, "I32": np.int32, "I16": np.int16, "I8": np.int8,
    "U64": np.uint64, "U32": np.uint32, "U16": np.uint16, "U8": np.uint8,
    "BOOL": np.bool_,
}  # fmt: skip


def dtype_name(name: str, dtype: np.dtype) -> str:
    """What safetensors calls a dtype."""
    for known, native in _DTYPES.items():
        if dtype.newbyteorder("=") == native:
            return known
    if dtype.name == "bfloat16":
        return "BF16"
    raise ValueError(f"tensor {name!r}: safetensors has no name for {dtype}")


def dump(tensors: Mapping[str, np.ndarray]) -> bytes:
    """The safetensors file of named arrays. Scalars and empty arrays stay what they are."""
    # The library reads memory as it lies: views that are not contiguous would be written scrambled.
    return safetensors.numpy.save({name: np.asarray(array, order="C") for name, array in tensors.items()})


def load(file: bytes) -> dict[str, np.ndarray]:
    """The named arrays of a safetensors file, writable. bfloat16 needs the package `ml_dtypes`."""
    return {name: _array(name, view) for name, view in safetensors.deserialize(file)}


def _array(name: str, view: dict) -> np.ndarray:
    data = view["data"] if isinstance(view["data"], bytearray) else bytearray(view["data"])
    return np.frombuffer(data, dtype=_dtype(name, view["dtype"])).reshape(view["shape"])


def _dtype(name: str, dtype: str) -> np.dtype:
    if dtype in _DTYPES:
        return np.dtype(_DTYPES[dtype])
    if dtype == "BF16":
        try:
            import ml_dtypes
        except ImportError:
            raise ValueError(f"tensor {name!r} is bfloat16: pip install ml_dtypes to read it into NumPy") from None
        return np.dtype(ml_dtypes.bfloat16)
    raise ValueError(f"tensor {name!r}: NumPy has no dtype for {dtype}")
