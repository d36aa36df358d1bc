"""What the client does when its node breaks off, is away, or asks to come again."""

import logging
import threading
from concurrent import futures

import grpc
import numpy as np
import pytest
from node import BROKEN, LARGE, refusal
from qres import QresError, dump
from qres.download import DiskSink
from qres.v1 import model_pb2, node_pb2, weights_pb2

MIB = 1 << 20


def uploads(node):
    """The first messages of the attempts."""
    return [r for r in node.of(weights_pb2.SubmitWeightsRequest) if r.model]


def submit(client, timeout=60, **more):
    return client.submit("m", LARGE, base="c1", samples=1, timeout=timeout, **more)


def test_an_upload_goes_on_where_it_broke(client, node):
    node.cuts = [MIB + 5, 7]
    assert submit(client).id == "s1"
    attempts = uploads(node)
    assert [first.offset for first in attempts] == [0, MIB + 5, MIB + 12]
    key = attempts[0].idempotency_key
    assert len(key) == 32 and all(first.idempotency_key == key for first in attempts)
    assert bytes(node.kept[key]) == dump(LARGE)
    assert all(first.total_bytes == len(dump(LARGE)) for first in attempts)


def test_each_upload_has_a_key_of_its_own_unless_the_caller_gives_one(client, node):
    submit(client)
    submit(client)
    submit(client, idempotency_key="mine")
    keys = [first.idempotency_key for first in uploads(node)]
    assert len(set(keys)) == 3 and keys[2] == "mine"


def test_the_first_attempt_trusts_no_bytes_of_an_earlier_process(client, node):
    node.kept["mine"] = bytearray(b"of another file")
    submit(client, idempotency_key="mine")
    assert bytes(node.kept["mine"]) == dump(LARGE)


def test_a_model_s_weights_go_on_where_they_broke_and_a_seed_is_sent_again(client, node):
    node.cuts = [MIB]
    assert client.create("m", LARGE, timeout=60).id == "m1"
    assert [r.offset for r in node.of(model_pb2.CreateModelRequest) if r.name] == [0, MIB]
    node.failures["CreateModel"] = [BROKEN]
    client.create("n", LARGE, seed=1, timeout=60)
    assert [r.name for r in node.of(model_pb2.CreateModelRequest)][-2:] == ["n", "n"]


@pytest.mark.parametrize(
    ("code", "reason"),
    [(grpc.StatusCode.OUT_OF_RANGE, "OFFSET_PAST_KEPT"), (grpc.StatusCode.FAILED_PRECONDITION, "UPLOAD_OVERTAKEN")],
)
def test_an_upload_that_lost_its_place_asks_for_it(client, node, code, reason):
    node.failures["SubmitWeights"] = [refusal(code, reason)]
    submit(client)
    assert len(node.of(weights_pb2.GetUploadRequest)) == 1 and len(uploads(node)) == 2


def test_a_refusal_for_good_is_raised_at_once(client, node):
    node.failures["SubmitWeights"] = [refusal(grpc.StatusCode.RESOURCE_EXHAUSTED, "UPLOAD_QUOTA")]
    with pytest.raises(QresError, match="UPLOAD_QUOTA"):
        submit(client, timeout=None)
    assert len(uploads(node)) == 1


def test_a_node_that_says_when_to_come_again_is_asked_then(client, node):
    busy = refusal(grpc.StatusCode.RESOURCE_EXHAUSTED, "UPLOADS_FULL", retry_after=0.01)
    node.failures["SubmitWeights"] = [busy, busy]
    submit(client, timeout=None)
    assert len(uploads(node)) == 3


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (grpc.StatusCode.UNAUTHENTICATED, "CREDENTIAL_MISSING"),
        (grpc.StatusCode.UNAUTHENTICATED, "CREDENTIAL_REFUSED"),
        (grpc.StatusCode.PERMISSION_DENIED, "ROLE_TOO_LOW"),
        (grpc.StatusCode.PERMISSION_DENIED, "TRAINER_DIFFERS"),
    ],
)
def test_a_caller_who_may_not_is_told_so_at_once(client, node, tmp_path, code, reason):
    # Also one that is told when to come again: nothing changes by itself.
    refused = refusal(code, reason, retry_after=0.01, message="ask the node's operator")
    calls = {
        "FetchWeights": [lambda: next(client.heads("m")), lambda: client.fetch_to("m", tmp_path / "file")],
        "SubmitWeights": [lambda: submit(client, timeout=None)],
        "CreateModel": [lambda: client.create("m", LARGE)],
        "WatchModels": [lambda: client.join("m")],
        "JoinModel": [lambda: client.join("m")],
        "GetNode": [client.node],
    }
    for method, tries in calls.items():
        for call in tries:
            # Were it tried again, it would go well.
            node.failures[method] = [refused]
            with pytest.raises(QresError, match=f"ask the node's operator .*{reason}") as caught:
                call()
            assert caught.value.code == code
    assert list(tmp_path.iterdir()) == []


def test_a_caller_who_may_no_longer_after_a_break_is_told_so(client, node):
    refused = refusal(grpc.StatusCode.UNAUTHENTICATED, "CREDENTIAL_REFUSED")
    node.failures = {"FetchWeights": [BROKEN, refused], "GetNode": [refused]}
    with pytest.raises(QresError, match="CREDENTIAL_REFUSED"):
        next(client.heads("m"))
    node.failures = {"SubmitWeights": [BROKEN], "GetUpload": [refused]}
    with pytest.raises(QresError, match="CREDENTIAL_REFUSED"):
        submit(client, timeout=None)


def test_a_caller_with_too_many_calls_goes_on_when_the_node_says(client, node):
    many = refusal(grpc.StatusCode.RESOURCE_EXHAUSTED, "RATE_LIMIT", retry_after=0.01)
    node.failures = {"FetchWeights": [many, many], "GetNode": [many], "SubmitWeights": [many], "GetUpload": [many]}
    assert next(client.heads("m")).checkpoint == "c1"
    assert submit(client, timeout=None).id == "s1"
    assert all(not failures for failures in node.failures.values())


def test_an_upload_s_time_ends_with_what_was_wrong(client, node):
    node.failures = {"SubmitWeights": [BROKEN], "GetUpload": [BROKEN] * 1000}
    with pytest.raises(QresError) as caught:
        submit(client, timeout=0.3)
    assert caught.value.code == grpc.StatusCode.UNAVAILABLE
    assert node.of(weights_pb2.GetUploadRequest)


def test_a_file_that_cannot_be_read_says_so(client, tmp_path):
    # Its length is known, its bytes cannot be read.
    with pytest.raises(IsADirectoryError):
        client.submit_file("m", tmp_path, base="c1", samples=1, timeout=60)
    with pytest.raises(FileNotFoundError):
        client.submit_file("m", tmp_path / "none", base="c1", samples=1, timeout=60)


def test_a_fetch_of_heads_goes_on_where_it_broke(client, node):
    node.cuts = [MIB + 5, 7]
    head = next(client.heads("m", after="c1", trainer="t", timeout=60))
    assert head.checkpoint == "c2" and np.array_equal(head.tensors["w"], LARGE["w"])
    asked = [(r.after, r.checkpoint, r.offset) for r in node.of(weights_pb2.FetchWeightsRequest)]
    assert asked == [("c1", "", 0), ("", "c2", MIB + 5), ("", "c2", MIB + 12)]


def test_a_head_that_is_gone_meanwhile_is_fetched_anew(client, node):
    node.cuts = [MIB]
    node.failures["FetchWeights"] = [None, refusal(grpc.StatusCode.NOT_FOUND, "CHECKPOINT_NOT_HELD")]
    head = next(client.heads("m", timeout=60))
    assert np.array_equal(head.tensors["w"], LARGE["w"])
    assert [(r.checkpoint, r.offset) for r in node.of(weights_pb2.FetchWeightsRequest)] == [
        ("", 0),
        ("c1", MIB),
        ("", 0),
    ]


def test_a_model_that_is_unknown_ends_the_heads(client, node):
    node.failures["FetchWeights"] = [refusal(grpc.StatusCode.NOT_FOUND, "MODEL_UNKNOWN")]
    with pytest.raises(QresError, match="MODEL_UNKNOWN"):
        next(client.heads("m"))


@pytest.mark.parametrize(("method", "wishes"), [("WatchModels", 1), ("JoinModel", 2), ("Joined", 2)])
def test_a_join_outlives_breaks(client, node, method, wishes):
    node.failures = {method: [BROKEN]}
    client.join("m", timeout=60)
    assert len(node.of(model_pb2.JoinModelRequest)) == wishes


def test_a_fetch_into_a_file_goes_on_and_comes_to_its_place_whole(client, node, tmp_path):
    path = tmp_path / "model.safetensors"
    node.cuts = [MIB + 5]
    head = client.fetch_to("m", path, timeout=60)
    assert (head.checkpoint, head.tensors) == ("c1", {})
    assert path.read_bytes() == dump(LARGE)
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]
    node.cuts = [MIB]
    node.failures["FetchWeights"] = [None, refusal(grpc.StatusCode.NOT_FOUND, "MODEL_UNKNOWN")]
    path.write_bytes(b"old")
    with pytest.raises(QresError, match="MODEL_UNKNOWN"):
        client.fetch_to("m", path, timeout=60)
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


def test_two_fetches_into_one_place_do_not_mix(client, tmp_path):
    path, part = tmp_path / "model.safetensors", tmp_path / ".model.safetensors.part"
    # What a killed process left is no hindrance; another one's fetch is.
    part.write_bytes(bytes(8 * MIB))
    other = DiskSink(path, 3)
    other.write(b"abc")
    with pytest.raises(BlockingIOError, match="another fetch writes to it"):
        client.fetch_to("m", path, timeout=60)
    other.finish()
    assert path.read_bytes() == b"abc"
    client.fetch_to("m", path, timeout=60)
    assert path.read_bytes() == dump(LARGE)


def test_a_file_is_sent_like_arrays(client, node, tmp_path):
    path = tmp_path / "model.safetensors"
    path.write_bytes(dump(LARGE))
    node.cuts = [MIB + 5]
    client.submit_file("m", path, base="c1", samples=1, timeout=60)
    client.create_file("m", path, strategy="fedprox/1", params={"mu": 0.5}, timeout=60)
    assert [bytes(kept) for kept in node.kept.values()] == [dump(LARGE)] * 2
    assert [first.offset for first in uploads(node)] == [0, MIB + 5]
    assert node.of(model_pb2.CreateModelRequest)[0].strategy.params["mu"] == 0.5


def test_an_outage_is_told_once_and_its_end_too(client, node, caplog):
    caplog.set_level("INFO", "qres")
    node.failures = {"FetchWeights": [BROKEN], "GetNode": [BROKEN, BROKEN]}
    next(client.heads("m", timeout=60))
    told = [(record.levelname, client.address in record.message) for record in caplog.records]
    assert told == [("WARNING", True), ("INFO", True)]
    assert "trying again" in caplog.records[0].message
    assert len(node.of(node_pb2.GetNodeRequest)) == 3


def test_an_upload_that_gets_no_further_is_told_once(client, node, caplog):
    caplog.set_level("INFO", "qres")
    node.failures["SubmitWeights"] = [BROKEN] * 3
    submit(client)
    told = [record.levelname for record in caplog.records if "goes on from byte" not in record.message]
    assert told == ["WARNING", "INFO"]


class Told(logging.Handler):
    """Notes that something was logged."""

    def __init__(self):
        super().__init__()
        self.event = threading.Event()

    def emit(self, record):
        self.event.set()


def test_a_client_that_is_closed_does_not_wait_on(client, node):
    node.failures["SubmitWeights"] = [refusal(grpc.StatusCode.RESOURCE_EXHAUSTED, "DISK_FULL", retry_after=3600)]
    told = Told()
    logging.getLogger("qres").addHandler(told)
    try:
        with futures.ThreadPoolExecutor() as threads:
            submitted = threads.submit(submit, client, timeout=None)
            assert told.event.wait(60)
            client.close()
            with pytest.raises(QresError, match="DISK_FULL"):
                submitted.result(timeout=60)
    finally:
        logging.getLogger("qres").removeHandler(told)
