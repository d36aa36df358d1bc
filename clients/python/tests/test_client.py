"""The client against a node that a test plays: the contract's own stubs, in this process."""

from concurrent import futures

import grpc
import numpy as np
import pytest
from google.protobuf import any_pb2, duration_pb2
from google.rpc import error_details_pb2, status_pb2
from qres import Client, QresError, dump, load
from qres.v1 import common_pb2, model_pb2, model_pb2_grpc, submission_pb2, weights_pb2, weights_pb2_grpc

# More than two chunks.
LARGE = {"w": np.arange(600_000, dtype="f4"), "n": np.array(7, "i8")}


class Node(weights_pb2_grpc.WeightsServiceServicer, model_pb2_grpc.ModelServiceServicer):
    """Answers as the test says and keeps what came."""

    def __init__(self):
        self.requests = []
        self.failure = None
        self.cut = False

    def FetchWeights(self, request, context):
        self.requests.append(request)
        self.fail(context)
        file = dump(LARGE)
        checkpoint = common_pb2.Checkpoint(id="c1", round=1, confirmed=True)
        yield weights_pb2.FetchWeightsResponse(
            checkpoint=checkpoint, trainer_config={"mu": 0.25}, total_bytes=len(file)
        )
        for start in range(0, len(file) - self.cut, 1 << 20):
            yield weights_pb2.FetchWeightsResponse(data=file[start : start + (1 << 20)])
            if self.cut:
                return

    def SubmitWeights(self, requests, context):
        self.requests += list(requests)
        self.fail(context)
        submission = submission_pb2.Submission(id="s1", state=submission_pb2.SUBMISSION_STATE_PENDING)
        return weights_pb2.SubmitWeightsResponse(submission=submission)

    def CreateModel(self, requests, context):
        self.requests += list(requests)
        return model_pb2.CreateModelResponse(model=model_pb2.Model(name=self.requests[0].name, id="m1"))

    def ListModels(self, request, context):
        page = {"": ("a", "t1"), "t1": ("b", "")}[request.page_token]
        return model_pb2.ListModelsResponse(models=[model_pb2.Model(name=page[0])], next_page_token=page[1])

    def WatchModels(self, request, context):
        def message(name, standing):
            return model_pb2.WatchModelsResponse(model=model_pb2.Model(name=name, standing=standing))

        yield model_pb2.WatchModelsResponse(kind=common_pb2.WATCH_KIND_SNAPSHOT_END)
        yield message("other", model_pb2.MODEL_STANDING_JOINED)
        yield message("m", model_pb2.MODEL_STANDING_AVAILABLE)
        yield message("m", model_pb2.MODEL_STANDING_SYNCING)
        yield message("m", model_pb2.MODEL_STANDING_JOINED)

    def JoinModel(self, request, context):
        self.requests.append(request)
        self.fail(context)
        return model_pb2.JoinModelResponse()

    def fail(self, context):
        if self.failure:
            context.set_trailing_metadata([("grpc-status-details-bin", self.failure.SerializeToString())])
            context.abort(grpc.StatusCode.FAILED_PRECONDITION, self.failure.message)


@pytest.fixture
def node():
    return Node()


@pytest.fixture
def client(node):
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=4))
    weights_pb2_grpc.add_WeightsServiceServicer_to_server(node, server)
    model_pb2_grpc.add_ModelServiceServicer_to_server(node, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    with Client(f"127.0.0.1:{port}") as client:
        yield client
    server.stop(None).wait()


def test_a_fetch_is_a_head_with_arrays(client, node):
    head = client.fetch("m", after="c0", timeout=60)
    assert (head.checkpoint, head.round, head.confirmed, head.config) == ("c1", 1, True, {"mu": 0.25})
    assert np.array_equal(head.tensors["w"], LARGE["w"])
    assert head.tensors["n"] == 7 and head.tensors["n"].shape == ()
    assert (node.requests[0].model, node.requests[0].after) == ("m", "c0")


def test_a_fetch_that_is_cut_is_an_error(client, node):
    node.cut = True
    with pytest.raises(ConnectionError, match="the data ended after 1048576 of"):
        client.fetch("m", timeout=60)


def test_a_submit_is_a_header_and_chunks_of_at_most_a_mebibyte(client, node):
    answer = client.submit("m", LARGE, base="c1", samples=5, metrics={"loss": 0.5}, timeout=60)
    assert answer.id == "s1"
    first, *rest = node.requests
    assert (first.model, first.base, first.samples, first.metrics["loss"]) == ("m", "c1", 5, 0.5)
    assert first.kind == weights_pb2.SUBMISSION_KIND_WEIGHTS
    assert rest and all(message.model == "" for message in rest)
    assert all(0 < len(message.data) <= 1 << 20 for message in node.requests)
    file = b"".join(message.data for message in node.requests)
    assert len(file) == first.total_bytes
    assert np.array_equal(load(file)["w"], LARGE["w"])


def test_a_model_is_created_with_the_fields_that_are_named(client, node):
    model = client.create("m", LARGE, strategy="fedprox/1", params={"mu": 0.1}, min_contributions=2, timeout=60)
    assert model.id == "m1"
    first = node.requests[0]
    assert (first.strategy.id, first.strategy.params["mu"], first.min_contributions) == ("fedprox/1", 0.1, 2)
    assert not first.HasField("deadline_ms")


def test_a_model_from_a_seed_sends_names_dtypes_and_shapes(client, node):
    arrays = {"w": np.empty((2, 3), ">f4"), "n": np.empty((), "i8"), "flag": np.empty(4, "?")}
    client.create("m", arrays, seed=0, timeout=60)
    (first,) = node.requests
    assert (first.seed, first.HasField("seed"), first.data, first.HasField("total_bytes")) == (0, True, b"", False)
    tensors = [(tensor.name, tensor.dtype, list(tensor.shape)) for tensor in first.tensors]
    assert tensors == [("w", "F32", [2, 3]), ("n", "I64", []), ("flag", "BOOL", [4])]
    with pytest.raises(ValueError, match="tensor 'w': safetensors has no name for complex128"):
        client.create("m", {"w": np.empty(1, "c16")}, seed=0)


def test_heads_are_fetched_each_after_the_one_before(client, node):
    heads = client.heads("m", timeout=60)
    assert [next(heads).round for _ in range(2)] == [1, 1]
    assert [request.after for request in node.requests] == ["", "c1"]


def test_a_join_waits_for_the_announcement_and_for_the_weights(client, node):
    client.join("m", timeout=60)
    assert [(request.model, request.creator) for request in node.requests] == [("m", "")]


def test_a_join_by_creator_waits_for_that_creator_s_model(client, node):
    node.failure = details(error_details_pb2.ErrorInfo(reason="CREATOR_UNKNOWN", domain="qres"))
    # The one that is announced is another creator's: it is passed over.
    client.join("m", creator="12D3", timeout=60)
    assert [request.creator for request in node.requests] == ["12D3"]
    with pytest.raises(QresError, match="CREATOR_UNKNOWN"):
        client.join("m", timeout=60)


def test_lists_turn_their_pages(client):
    assert [model.name for model in client.list_models(timeout=60)] == ["a", "b"]


def details(*messages):
    status = status_pb2.Status(code=9, message="base: too old, fetch the head")
    for message in messages:
        status.details.append(any_pb2.Any())
        status.details[-1].Pack(message)
    return status


@pytest.mark.parametrize("call", ["fetch", "submit"])
def test_an_error_is_decoded(client, node, call):
    node.failure = details(
        error_details_pb2.ErrorInfo(reason="BASE_STALE", domain="qres", metadata={"field": "base"}),
        error_details_pb2.RetryInfo(retry_delay=duration_pb2.Duration(seconds=1, nanos=500_000_000)),
    )
    with pytest.raises(QresError) as caught:
        if call == "fetch":
            client.fetch("m", timeout=60)
        else:
            client.submit("m", LARGE, base="c0", samples=1, timeout=60)
    error = caught.value
    assert error.code == grpc.StatusCode.FAILED_PRECONDITION
    assert (error.reason, error.field, error.retry_after) == ("BASE_STALE", "base", 1.5)
    assert str(error) == "base: too old, fetch the head [FAILED_PRECONDITION BASE_STALE]"


def test_no_node_is_an_error_too():
    with Client("127.0.0.1:1") as client, pytest.raises(QresError) as caught:
        client.fetch("m", timeout=60)
    assert caught.value.code == grpc.StatusCode.UNAVAILABLE
    assert (caught.value.reason, caught.value.retry_after) == ("", None)


def test_the_address_comes_from_the_environment(monkeypatch):
    monkeypatch.setenv("QRES_ADDR", "127.0.0.1:5555")
    assert Client().address == "127.0.0.1:5555"
    assert Client("127.0.0.1:6").address == "127.0.0.1:6"
    monkeypatch.delenv("QRES_ADDR")
    assert Client().address == "127.0.0.1:4002"
