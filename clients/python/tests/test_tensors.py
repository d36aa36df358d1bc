"""Tensors there and back, and the file's bytes against the format's own description."""

import json
import struct

import numpy as np
import pytest
import safetensors.numpy
from qres import dump, load, load_file, open_file
from qres.tensors import Arrays, TensorFile

MIXED = {
    **{f"t{dtype}": np.arange(3).astype(dtype) for dtype in "f8 f4 f2 i8 i4 i2 i1 u8 u4 u2 u1 ?".split()},
    'quoted "\\ \n\x1f\x7f \u00e9\u2028\U0001f600': np.array(1.5, "f4"),
    "empty": np.empty((2, 0), "f4"),
    "Z": np.ones((2, 3), "f4"),
    "transposed": np.arange(6, dtype="f4").reshape(2, 3).T,
    "big": np.arange(5, dtype=">f4"),
}


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


def test_the_file_is_the_one_that_the_format_s_own_library_writes():
    plain = {name: np.asarray(array, array.dtype.newbyteorder("="), order="C") for name, array in MIXED.items()}
    assert dump(MIXED) == safetensors.numpy.save(plain)
    assert dump({}) == safetensors.numpy.save({})


@pytest.mark.parametrize("size", [1, 7, 64, 1 << 20])
def test_chunks_from_any_offset_are_the_file(size):
    file, whole = TensorFile(MIXED), dump(MIXED)
    assert file.total_bytes == len(whole)
    for offset in range(0, len(whole) + 1, 5):
        chunks = list(file.chunks(offset, size))
        assert b"".join(chunks) == whole[offset:]
        assert all(len(chunk) == size for chunk in chunks[:-1]) and all(chunks)


@pytest.mark.parametrize("size", [1, 7, 64, 1 << 20])
def test_arrays_are_filled_from_pieces_of_any_length(size):
    whole = dump(MIXED)
    arrays = Arrays(len(whole))
    for start in range(0, len(whole), size):
        arrays.write(whole[start : start + size])
    tensors = arrays.finish()
    assert all(np.array_equal(tensors[name], array) for name, array in MIXED.items())
    assert all(array.flags.writeable for array in tensors.values())


def test_more_bytes_than_were_announced_are_refused():
    arrays = Arrays(10)
    with pytest.raises(ValueError, match="more than the 10 bytes"):
        arrays.write(bytes(11))


def test_a_file_is_read_into_memory_or_as_it_is_used(tmp_path):
    path = tmp_path / "model.safetensors"
    path.write_bytes(dump(MIXED))
    loaded, mapped = load_file(path), open_file(path)
    for name, array in MIXED.items():
        assert np.array_equal(loaded[name], array) and np.array_equal(mapped[name], array)
        assert mapped[name].shape == array.shape
        assert isinstance(mapped[name], np.memmap) or not array.size
    loaded["Z"][0] = 9
    with pytest.raises(ValueError, match="read-only"):
        mapped["Z"][0] = 9
    assert dump(mapped) == path.read_bytes()


def test_a_file_whose_tensors_lie_in_another_order_is_read(tmp_path):
    # As a node writes it, by name: the second one is not at a multiple of its size.
    header = b'{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"b":{"dtype":"F32","shape":[2],"data_offsets":[1,9]}}  '
    file = struct.pack("<Q", len(header)) + header + b"\x07" + struct.pack("<2f", 1.0, -2.0)
    path = tmp_path / "model.safetensors"
    path.write_bytes(file)
    for tensors in (load(file), load_file(path), open_file(path)):
        assert tensors["a"].tolist() == [7] and tensors["b"].tolist() == [1.0, -2.0]


def entry(dtype="F32", shape=(2,), offsets=(0, 8)):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}


@pytest.mark.parametrize(
    ("header", "problem"),
    [
        ({"a": entry(offsets=(4, 12))}, "begins at 4, not at 0"),
        ({"a": entry(), "b": entry(offsets=(4, 12))}, "begins at 4, not at 8"),
        ({"a": entry(shape=(3,))}, "has 8 bytes for"),
        ({"a": entry(shape=(-1, -2))}, "no size"),
        ({"a": entry(shape=(1e3,))}, "no size"),
        ({"a": entry(dtype="F31")}, "no dtype for F31"),
        ({"a": {"dtype": "F32"}}, "invalid"),
        ({"a": 5}, "invalid"),
        ([], "invalid"),
        ({}, "incomplete: 0 bytes of data in the header, 8 are there"),
    ],
)
def test_a_header_that_lies_is_an_error(header, problem):
    text = json.dumps(header).encode()
    with pytest.raises(ValueError, match=problem):
        load(struct.pack("<Q", len(text)) + text + bytes(8))


def test_a_header_that_is_longer_than_its_file_takes_no_memory():
    with pytest.raises(ValueError, match="bytes announced in a file of 1000"):
        Arrays(1000).write(struct.pack("<Q", 1 << 60))
