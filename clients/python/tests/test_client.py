"""The client against a node that a test plays."""

import grpc
import numpy as np
import pytest
from node import LARGE, refusal
from qres import Client, QresError, load
from qres.v1 import common_pb2, model_pb2, weights_pb2


def test_a_fetch_is_a_head_with_arrays(client, node):
    head = client.fetch("m", after="c0", timeout=60)
    assert (head.checkpoint, head.round, head.confirmed, head.config) == ("c1", 1, True, {"mu": 0.25})
    assert np.array_equal(head.tensors["w"], LARGE["w"])
    assert head.tensors["n"] == 7 and head.tensors["n"].shape == ()
    assert (node.requests[0].model, node.requests[0].after) == ("m", "c0")


def test_a_fetch_that_is_cut_is_an_error(client, node):
    node.cuts = [1 << 20]
    with pytest.raises(QresError, match="the connection broke: Socket closed"):
        client.fetch("m", timeout=60)
    assert len(node.requests) == 1


def test_a_submit_is_a_header_and_chunks_of_at_most_a_mebibyte(client, node):
    said = {"metrics": {"loss": 0.5}, "evaluation_samples": 9, "steps": 3.5}
    answer = client.submit("m", LARGE, base="c1", samples=5, **said, timeout=60)
    assert answer.id == "s1"
    first, *rest = node.requests
    assert (first.evaluation_samples, first.steps) == (9, 3.5)
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
    assert not first.HasField("deadline_ms") and not first.aggregation


def test_a_model_is_created_with_aggregation_rules_in_their_order(client, node):
    rules = [("nnm/1", {"f": 2}), "median/1"]
    client.create("m", LARGE, aggregation=rules, timeout=60)
    sent = [(rule.id, dict(rule.params)) for rule in node.requests[0].aggregation]
    assert sent == [("nnm/1", {"f": 2.0}), ("median/1", {})]


def test_a_model_is_created_with_metrics_and_an_end(client, node):
    metrics = {"loss": "lowest", "accuracy": "highest"}
    client.create("m", LARGE, metrics=metrics, max_rounds=9, until=("accuracy", 0.95), timeout=60)
    first = node.requests[0]
    sent = [(metric.name, metric.goal) for metric in first.metrics]
    assert sent == [("loss", common_pb2.METRIC_GOAL_LOWEST), ("accuracy", common_pb2.METRIC_GOAL_HIGHEST)]
    assert (first.max_rounds, first.until.metric, first.until.value) == (9, "accuracy", 0.95)
    with pytest.raises(ValueError, match="'up'"):
        client.create("m", LARGE, metrics={"loss": "up"})


def test_a_model_is_created_with_schedules_and_privacy(client, node):
    schedules = {"learning_rate": ("cosine", {100: 0.001, 1: 0.1}), "local_epochs": ("step", {1: 5})}
    privacy = ("gaussian/1", {"clip": 1.0, "noise_multiplier": 0.5})
    client.create("m", LARGE, schedules=schedules, privacy=privacy, timeout=60)
    first = node.requests[0]
    sent = first.schedules["learning_rate"]
    assert sent.curve == model_pb2.SCHEDULE_CURVE_COSINE
    assert [(point.round, point.value) for point in sent.points] == [(1, 0.1), (100, 0.001)]
    assert first.schedules["local_epochs"].curve == model_pb2.SCHEDULE_CURVE_STEP
    assert (first.privacy.id, dict(first.privacy.params)) == ("gaussian/1", {"clip": 1.0, "noise_multiplier": 0.5})
    with pytest.raises(ValueError, match="'cubic' is no curve"):
        client.create("m", LARGE, schedules={"mu": ("cubic", {1: 0.1})})


def test_a_model_from_a_seed_sends_names_dtypes_and_shapes(client, node):
    arrays = {"w": np.empty((2, 3), ">f4"), "n": np.empty((), "i8"), "flag": np.empty(4, "?")}
    client.create("m", arrays, seed=0, timeout=60)
    (first,) = node.requests
    assert (first.seed, first.HasField("seed"), first.data, first.HasField("total_bytes")) == (0, True, b"", False)
    tensors = [(tensor.name, tensor.dtype, list(tensor.shape)) for tensor in first.tensors]
    assert tensors == [("w", "F32", [2, 3]), ("n", "I64", []), ("flag", "BOOL", [4])]
    with pytest.raises(ValueError, match="tensor 'w': safetensors has no name for complex128"):
        client.create("m", {"w": np.empty(1, "c16")}, seed=0)


def test_a_schema_that_is_larger_than_a_message_is_sent_in_several(client, node):
    arrays = {f"{'layer' * 20}{number}": np.empty((number, 1), "f4") for number in range(20_000)}
    client.create("m", arrays, seed=1, timeout=60)
    first, *more = node.requests
    assert first.name == "m" and len(more) == 2
    assert all(request.ByteSize() < 2 << 20 for request in node.requests)
    assert all(request == model_pb2.CreateModelRequest(tensors=request.tensors) for request in more)
    assert [tensor.name for request in node.requests for tensor in request.tensors] == list(arrays)


def test_a_model_is_shown_with_all_its_tensors(client, node):
    model = client.model("m", timeout=60)
    assert [tensor.name for tensor in model.tensors] == ["t0", "t1", "t2", "t3", "t4"]
    assert [(r.model, r.page_token) for r in node.of(model_pb2.ListTensorsRequest)] == [("m@m1", "2"), ("m@m1", "4")]


def test_heads_are_fetched_each_after_the_one_before(client, node):
    heads = client.heads("m", timeout=60)
    assert [next(heads).round for _ in range(2)] == [1, 2]
    assert [request.after for request in node.requests] == ["", "c1"]
    assert all(request.HasField("trainer") and request.trainer == "" for request in node.requests)
    next(client.heads("m", trainer="t", timeout=60))
    assert node.requests[-1].trainer == "t"
    client.fetch("m", timeout=60)
    assert not node.requests[-1].HasField("trainer")


def test_a_join_waits_for_the_announcement_and_for_the_weights(client, node):
    client.join("m", timeout=60)
    assert [(request.model, request.creator) for request in node.requests] == [("m", "")]


def test_a_join_by_creator_waits_for_that_creator_s_model(client, node):
    node.failures["JoinModel"] = [refusal(grpc.StatusCode.FAILED_PRECONDITION, "CREATOR_UNKNOWN")] * 2
    # The one that is announced is another creator's: it is passed over.
    client.join("m", creator="12D3", timeout=60)
    assert [request.creator for request in node.requests] == ["12D3"]
    with pytest.raises(QresError, match="CREATOR_UNKNOWN"):
        client.join("m", timeout=60)


def test_lists_turn_their_pages(client):
    assert [model.name for model in client.list_models(timeout=60)] == ["a", "b"]


@pytest.mark.parametrize("call", ["fetch", "submit"])
def test_an_error_is_decoded(client, node, call):
    failure = refusal(grpc.StatusCode.FAILED_PRECONDITION, "BASE_STALE", "base", 1.5)
    node.failures = {"FetchWeights": [failure], "SubmitWeights": [failure]}
    with pytest.raises(QresError) as caught:
        if call == "fetch":
            client.fetch("m", timeout=60)
        else:
            # No time for the pause that the node asks for.
            client.submit("m", LARGE, base="c0", samples=1, timeout=1)
    error = caught.value
    assert error.code == grpc.StatusCode.FAILED_PRECONDITION
    assert (error.reason, error.field, error.retry_after) == ("BASE_STALE", "base", 1.5)
    assert str(error) == "base: too old, fetch the head [FAILED_PRECONDITION BASE_STALE]"


def test_no_node_is_an_error_too():
    with Client("127.0.0.1:1") as client, pytest.raises(QresError) as caught:
        client.fetch("m", timeout=60)
    assert caught.value.code == grpc.StatusCode.UNAVAILABLE
    assert (caught.value.reason, caught.value.retry_after) == ("", None)


def test_a_head_submits_on_itself_by_the_name_that_fetched_it(client, node):
    head = next(client.heads("m", trainer="t", timeout=60))
    assert head.submit(head.tensors, samples=5, metrics={"loss": 0.5}, delta=True, timeout=60).id == "s1"
    first = node.of(weights_pb2.SubmitWeightsRequest)[0]
    assert (first.model, first.base, first.trainer, first.samples) == ("m", "c1", "t", 5)
    assert (first.kind, first.metrics["loss"]) == (weights_pb2.SUBMISSION_KIND_DELTA, 0.5)
    head.submit(head.tensors, samples=5, trainer="u", timeout=60)
    assert [r.trainer for r in node.of(weights_pb2.SubmitWeightsRequest) if r.model] == ["t", "u"]


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (grpc.StatusCode.FAILED_PRECONDITION, "BASE_STALE"),
        (grpc.StatusCode.FAILED_PRECONDITION, "BASE_CONTRIBUTED"),
        (grpc.StatusCode.ALREADY_EXISTS, "BASE_SUBMITTED"),
        (grpc.StatusCode.FAILED_PRECONDITION, "MODEL_COMPLETE"),
    ],
)
def test_a_base_that_takes_no_more_work_is_no_failure(client, node, caplog, code, reason):
    caplog.set_level("INFO", "qres")
    node.failures["SubmitWeights"] = [refusal(code, reason)]
    assert client.fetch("m", timeout=60).submit(LARGE, samples=1, timeout=60) is None
    assert reason in caplog.text


def test_another_refusal_of_a_head_is_raised(client, node):
    node.failures["SubmitWeights"] = [refusal(grpc.StatusCode.PERMISSION_DENIED, "NOT_A_MEMBER")]
    with pytest.raises(QresError, match="NOT_A_MEMBER"):
        client.fetch("m", timeout=60).submit(LARGE, samples=1, timeout=60)
