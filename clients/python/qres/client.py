"""A connection to one node."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import grpc
import numpy as np

from qres import tensors as files
from qres.errors import QresError, decoded, decoded_stream
from qres.v1 import common_pb2, model_pb2, node_pb2, round_pb2, submission_pb2, weights_pb2
from qres.v1.model_pb2_grpc import ModelServiceStub
from qres.v1.node_pb2_grpc import NodeServiceStub
from qres.v1.peer_pb2_grpc import PeerServiceStub
from qres.v1.round_pb2_grpc import RoundServiceStub
from qres.v1.state_pb2_grpc import StateServiceStub
from qres.v1.submission_pb2_grpc import SubmissionServiceStub
from qres.v1.weights_pb2_grpc import WeightsServiceStub

DEFAULT_ADDRESS = "127.0.0.1:4002"
CHUNK_BYTES_MAX = 1 << 20
"""Data in one message, as the contract bounds it."""
OPTIONS = [
    # A model's schema may have some MiB; data comes in chunks.
    ("grpc.max_receive_message_length", 64 << 20),
    # A node that vanished while a fetch waits is noticed.
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 15_000),
]


@dataclass(frozen=True)
class Head:
    """A checkpoint as it was fetched."""

    checkpoint: str
    """Its id: the `base` of what is trained from it, and the `after` of the next fetch."""
    round: int
    """0 for a model's first weights."""
    confirmed: bool
    """Whether a quorum has built on it. Trainers need not care; deployments do."""
    config: dict[str, float]
    """What a trainer must apply, e.g. `mu`, `learning_rate`."""
    tensors: dict[str, np.ndarray]
    """The weights, writable."""


class Client:
    """Talks to one node: `host:port`, else the environment's QRES_ADDR, else 127.0.0.1:4002.

    Failures are `QresError`. Timeouts are seconds; `None` waits for ever. The stubs of all services are attributes:
    `models`, `weights`, `submissions`, `rounds`, `states`, `peers`, `nodes`.
    """

    def __init__(self, address: str | None = None):
        self.address = address or os.environ.get("QRES_ADDR") or DEFAULT_ADDRESS
        self._channel = grpc.insecure_channel(self.address, options=OPTIONS)
        self.models = ModelServiceStub(self._channel)
        self.weights = WeightsServiceStub(self._channel)
        self.submissions = SubmissionServiceStub(self._channel)
        self.rounds = RoundServiceStub(self._channel)
        self.states = StateServiceStub(self._channel)
        self.peers = PeerServiceStub(self._channel)
        self.nodes = NodeServiceStub(self._channel)

    def close(self) -> None:
        """Ends the connection and the calls on it."""
        self._channel.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def fetch(
        self,
        model: str,
        *,
        after: str | None = None,
        checkpoint: str | None = None,
        confirmed_only: bool = False,
        every_head: bool = False,
        timeout: float | None = None,
    ) -> Head:
        """The head, or the checkpoint that is named. With `after` it waits until the head is another one that can be trained
        on: the node has not contributed on it yet (`every_head` for observers, which take any)."""
        request = weights_pb2.FetchWeightsRequest(
            model=model,
            after=after or "",
            checkpoint=checkpoint or "",
            confirmed_only=confirmed_only,
            every_head=every_head,
        )
        answer = decoded_stream(self.weights.FetchWeights(request, timeout=timeout))
        first = next(answer)
        file = b"".join(message.data for message in answer)
        if len(file) != first.total_bytes:
            raise ConnectionError(f"the data ended after {len(file)} of {first.total_bytes} bytes: fetch again")
        return Head(
            checkpoint=first.checkpoint.id,
            round=first.checkpoint.round,
            confirmed=first.checkpoint.confirmed,
            config=dict(first.trainer_config),
            tensors=files.load(file),
        )

    def heads(self, model: str, *, after: str | None = None, timeout: float | None = None) -> Iterator[Head]:
        """The head, then every newer one that is there when the caller comes back for it, for ever."""
        while True:
            head = self.fetch(model, after=after, timeout=timeout)
            yield head
            after = head.checkpoint

    def submit(
        self,
        model: str,
        tensors: Mapping[str, np.ndarray],
        *,
        base: str,
        samples: int,
        delta: bool = False,
        trainer: str = "",
        metrics: Mapping[str, float] | None = None,
        idempotency_key: str = "",
        timeout: float | None = None,
    ) -> submission_pb2.Submission:
        """Hands in what was trained from `base` on `samples` rows: weights, or with `delta` weights minus base.

        Answers once it is durable on the node; `submission(answer.id)` says what became of it. Several trainers on one
        node need different names.
        """
        file = files.dump(tensors)
        kind = weights_pb2.SUBMISSION_KIND_DELTA if delta else weights_pb2.SUBMISSION_KIND_WEIGHTS
        header = weights_pb2.SubmitWeightsRequest(
            model=model,
            base=base,
            trainer=trainer,
            samples=samples,
            kind=kind,
            metrics=metrics or {},
            idempotency_key=idempotency_key,
            total_bytes=len(file),
        )
        with decoded():
            return self.weights.SubmitWeights(_chunks(header, file), timeout=timeout).submission

    def submission(self, id: str, *, wait: bool = False, timeout: float | None = None) -> submission_pb2.Submission:
        """What became of a submission; with `wait`, once that is final."""
        request = submission_pb2.GetSubmissionRequest(id=id, wait=wait)
        with decoded():
            return self.submissions.GetSubmission(request, timeout=timeout).submission

    def create(
        self,
        model: str,
        tensors: Mapping[str, np.ndarray],
        *,
        strategy: str = "fedavg/1",
        params: Mapping[str, float] | None = None,
        members: Sequence[str] = (),
        seed: int | None = None,
        timeout: float | None = None,
        **spec: object,
    ) -> model_pb2.Model:
        """Makes a model from its first weights. `members` may contribute and read; without any it is this node alone.

        With `seed` the node makes the weights itself: of `tensors` only names, dtypes and shapes count (`np.empty` will do).
        `params` are the strategy's numbers, e.g. `mu`. More of `CreateModelRequest`'s fields go by name:
        `min_contributions`, `deadline_ms`, `codec`, `open`, …
        """
        rule = common_pb2.Rule(id=strategy, params=params or {})
        header = model_pb2.CreateModelRequest(name=model, strategy=rule, members=members, **spec)
        if seed is None:
            file = files.dump(tensors)
            header.total_bytes = len(file)
        else:
            file, header.seed = b"", seed
            header.tensors.extend(
                model_pb2.TensorSpec(name=name, dtype=files.dtype_name(name, array.dtype), shape=array.shape)
                for name, array in tensors.items()
            )
        with decoded():
            return self.models.CreateModel(_chunks(header, file), timeout=timeout).model

    def join(self, model: str, *, creator: str | None = None, timeout: float | None = None) -> None:
        """Joins a model as soon as this node has heard of it, and waits until its weights are here.

        A name is anyone's to give: say `name@id`, or the `creator` (node id or peer id). A bare name is taken only if this
        node knows the creator: from its configuration, or as a fellow member of a joined model.
        """
        wanted, _, wanted_id = model.partition("@")
        wish = model_pb2.JoinModelRequest(model=model, creator=creator or "")
        watch = self.models.WatchModels(model_pb2.WatchModelsRequest(), timeout=timeout)
        for message in decoded_stream(watch):
            known = message.model
            if known.name != wanted or (wanted_id and known.id != wanted_id):
                continue
            if known.standing == model_pb2.MODEL_STANDING_AVAILABLE:
                try:
                    with decoded():
                        self.models.JoinModel(wish, timeout=timeout)
                except QresError as error:
                    # Another one's model of that name: the creator's own may still be announced.
                    if creator is None or error.reason != "CREATOR_UNKNOWN":
                        raise
            elif known.standing == model_pb2.MODEL_STANDING_JOINED:
                watch.cancel()
                return
        raise ConnectionError("the node ended its watch of models: is it shutting down?")

    def leave(self, model: str, *, timeout: float | None = None) -> None:
        """Leaves a model on this node alone."""
        with decoded():
            self.models.LeaveModel(model_pb2.LeaveModelRequest(model=model), timeout=timeout)

    def model(self, model: str, *, timeout: float | None = None) -> model_pb2.Model:
        """One model, its schema included."""
        with decoded():
            return self.models.GetModel(model_pb2.GetModelRequest(model=model), timeout=timeout).model

    def list_models(self, *, timeout: float | None = None) -> Iterator[model_pb2.Model]:
        """All joined and available models, without their schemas."""
        request = model_pb2.ListModelsRequest()
        while True:
            with decoded():
                page = self.models.ListModels(request, timeout=timeout)
            yield from page.models
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    def watch_rounds(self, model: str, from_revision: int = 0) -> Iterator[round_pb2.WatchRoundsResponse]:
        """A model's rounds as they open, fill and are sealed. After a break go on from the last message's revision."""
        request = round_pb2.WatchRoundsRequest(model=model, from_revision=from_revision)
        return decoded_stream(self.rounds.WatchRounds(request))

    def node(self, *, timeout: float | None = None) -> node_pb2.Node:
        """The node itself."""
        with decoded():
            return self.nodes.GetNode(node_pb2.GetNodeRequest(), timeout=timeout).node


def _chunks(header, file: bytes) -> Iterator:
    """The messages of an upload: the header with the first chunk, then chunks."""
    header.data = file[:CHUNK_BYTES_MAX]
    yield header
    for start in range(CHUNK_BYTES_MAX, len(file), CHUNK_BYTES_MAX):
        yield type(header)(data=file[start : start + CHUNK_BYTES_MAX])


__all__ = ["Client", "Head", "QresError"]
