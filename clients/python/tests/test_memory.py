"""What a model takes in a trainer's memory while it is sent or fetched: itself, and no copy."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from node import Node, serve
from qres.tensors import TensorFile
from qres.upload import CHUNK_BYTES_MAX
from qres.v1 import common_pb2, weights_pb2

MIB = 1 << 20
MODEL_BYTES = 256 * MIB
INTERPRETER_BYTES = 96 * MIB
"""Python with NumPy and gRPC takes about 60 MiB, gRPC's own buffers some more."""

BEGIN = """
import numpy as np
from qres import Client, open_file
client = Client({address!r})
tensors = {{}}
def make():
    tensors["w"] = np.full({count}, 1, "f4")
"""
# The most memory that this process had since it became this program. `ru_maxrss` would begin with that of its parent.
END = """
print(open("/proc/self/status").read())
"""
CALLS = {
    "create": "make(); client.create('m', tensors)",
    "submit": "make(); client.submit('m', tensors, base='c1', samples=1)",
    "fetch": "tensors = client.fetch('m').tensors; assert tensors['w'][-1] == 1",
    "heads": "tensors = next(client.heads('m')).tensors; assert tensors['w'][-1] == 1",
    "two heads": "heads = client.heads('m'); assert [next(heads).tensors['w'][-1] for _ in range(2)] == [1, 1]",
}
FILE_CALLS = {
    "create_file": "client.create_file('m', {path!r})",
    "submit_file": "client.submit_file('m', {path!r}, base='c1', samples=1)",
    "fetch_to": "client.fetch_to('m', {path!r}); assert open_file({path!r})['w'][-1] == 1",
}


class LargeNode(Node):
    """Counts what comes, and sends a large model."""

    def take(self, method, requests, context):
        first, self.came = None, 0
        for request in requests:
            first = first or request
            self.came += len(request.data)
        return first

    def FetchWeights(self, request, context):
        file = TensorFile({"w": np.ones(MODEL_BYTES // 4, "f4")})
        yield weights_pb2.FetchWeightsResponse(
            checkpoint=common_pb2.Checkpoint(id="c1"), total_bytes=file.total_bytes
        )
        for chunk in file.chunks(0, CHUNK_BYTES_MAX):
            yield weights_pb2.FetchWeightsResponse(data=chunk)


def peak_bytes(call):
    """The most memory of a process that makes one call."""
    with serve(LargeNode()) as address:
        script = BEGIN.format(address=address, count=MODEL_BYTES // 4) + call + END
        done = subprocess.run(
            [sys.executable, "-c", script], cwd=Path(__file__).parents[1], capture_output=True, text=True, timeout=300
        )
    assert done.returncode == 0, done.stderr
    return int(re.search(r"VmHWM:\s+(\d+) kB", done.stdout)[1]) * 1024


pytestmark = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="only Linux tells a program's own peak")


@pytest.mark.parametrize("call", CALLS)
def test_a_model_is_in_memory_once(call):
    peak = peak_bytes(CALLS[call])
    assert MODEL_BYTES < peak <= 1.1 * MODEL_BYTES + INTERPRETER_BYTES


@pytest.mark.parametrize("call", FILE_CALLS)
def test_a_model_in_a_file_is_never_in_memory(call, tmp_path):
    path = tmp_path / "model.safetensors"
    if call != "fetch_to":
        with open(path, "wb") as file:
            file.writelines(TensorFile({"w": np.ones(MODEL_BYTES // 4, "f4")}).pieces())
    peak = peak_bytes(FILE_CALLS[call].format(path=str(path)))
    assert peak <= INTERPRETER_BYTES


def test_many_tensors_that_lie_in_another_order_are_turned_one_at_a_time():
    call = f"""
tensors = {{str(i): np.full((1024, {MODEL_BYTES // 16 // 4 // 1024}), i, ">f4").T for i in range(16)}}
client.submit('m', tensors, base='c1', samples=1)
"""
    peak = peak_bytes(call)
    # One of sixteen twice: once in the order of its bytes, once in C order.
    assert peak <= 1.1 * MODEL_BYTES + 2 * MODEL_BYTES / 16 + INTERPRETER_BYTES
