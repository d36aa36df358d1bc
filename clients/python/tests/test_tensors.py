"""Tensors there and back, and the file's bytes against the format's own description."""

import json
import struct

import numpy as np
import pytest
from qres import dump, load


@pytest.mark.parametrize("dtype", "f8 f4 f2 i8 i4 i2 i1 u8 u4 u2 u1 ?".split())
@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 0, 3), (2, 3)])
def test_arrays_come_back_as_they_were(dtype, shape):
    array = (np.arange(np.prod(shape, dtype=int)).reshape(shape) % 2).astype(dtype)
    back = load(dump({"a": array, "b": np.zeros(1, "f4")}))
    assert back["a"].dtype == array.dtype
    assert back["a"].shape == shape
    assert np.array_equal(back["a"], array)


def test_the_file_is_safetensors():
    file = dump({"a": np.array([1.0, -2.0], "f4")})
    (length,) = struct.unpack_from("<Q", file)
    header = json.loads(file[8 : 8 + length])
    assert header["a"] == {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
    assert file[8 + length :] == struct.pack("<2f", 1.0, -2.0)


def test_a_view_is_written_in_its_own_order():
    matrix = np.arange(6, dtype="f4").reshape(2, 3)
    assert np.array_equal(load(dump({"t": matrix.T}))["t"], matrix.T)
    assert np.array_equal(load(dump({"t": matrix[:, ::2]}))["t"], matrix[:, ::2])


def test_big_endian_numbers_are_turned():
    array = np.array([1.5, -2.0], ">f4")
    assert np.array_equal(load(dump({"a": array}))["a"], array.astype("<f4"))


def test_what_was_loaded_can_be_trained_in_place():
    tensors = load(dump({"a": np.zeros(3, "f4")}))
    tensors["a"] += 1
    assert tensors["a"].tolist() == [1, 1, 1]


def test_bfloat16_needs_its_package_and_then_comes_back():
    header = b'{"a":{"dtype":"BF16","shape":[2],"data_offsets":[0,4]}}'
    file = struct.pack("<Q", len(header)) + header + struct.pack("<2H", 0x3F80, 0xC000)
    try:
        import ml_dtypes  # noqa: F401
    except ImportError:
        with pytest.raises(ValueError, match="'a' is bfloat16: pip install ml_dtypes"):
            load(file)
    else:
        tensors = load(file)
        assert tensors["a"].astype("f4").tolist() == [1.0, -2.0]
        assert load(dump(tensors))["a"].tobytes() == tensors["a"].tobytes()


@pytest.mark.parametrize("file", [b"", b"\xff" * 16, dump({"a": np.zeros(3)})[:-1]])
def test_a_broken_file_is_an_error(file):
    with pytest.raises(Exception, match="(?i)header|invalid|metadata|incomplete"):
        load(file)
