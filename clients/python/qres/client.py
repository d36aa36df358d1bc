"""A node, as a trainer uses it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from qres.connection import Connection
from qres.credentials import Credentials, PathLike
from qres.download import DiskSink, Download
from qres.head import Head
from qres.join import Join
from qres.patience import Patience
from qres.schema import complete, in_messages, schema_of
from qres.tensors import Arrays, TensorFile
from qres.upload import Content, DiskFile, Upload
from qres.v1 import common_pb2, model_pb2, node_pb2, round_pb2, submission_pb2, weights_pb2
from qres.v1.model_pb2_grpc import ModelServiceStub
from qres.v1.node_pb2_grpc import NodeServiceStub
from qres.v1.peer_pb2_grpc import PeerServiceStub
from qres.v1.round_pb2_grpc import RoundServiceStub
from qres.v1.state_pb2_grpc import StateServiceStub
from qres.v1.submission_pb2_grpc import SubmissionServiceStub
from qres.v1.weights_pb2_grpc import WeightsServiceStub


class Client:
    """Talks to one node: `host:port`, `https://host:port` or `unix:/path`, else the environment's QRES_ADDR, else
    127.0.0.1:4002.

    With `https://`, `tls_ca` or `tls_cert` the connection is encrypted: the node's certificate must be by the CA in
    `tls_ca` (else by one of the system's) and have the host's name, or `tls_name`. The client shows a `token` (or that in
    `token_file`, which is read for each call), or the certificate in `tls_cert` with its private key in `tls_key`. What is
    not given comes from the environment: QRES_TLS_CA, QRES_TLS_CERT, QRES_TLS_KEY, QRES_TLS_NAME, QRES_TOKEN and
    QRES_TOKEN_FILE. A token goes unencrypted only to this machine.

    Failures are `QresError`. Timeouts are seconds; `None` waits for ever. `heads`, `submit`, `create`, `join` and the calls
    for files wait for a node that is away, and go on where they were; all other calls raise at once. The stubs of all
    services are attributes: `models`, `weights`, `submissions`, `rounds`, `states`, `peers`, `nodes`.
    """

    def __init__(
        self,
        address: str | None = None,
        *,
        tls_ca: PathLike | None = None,
        tls_cert: PathLike | None = None,
        tls_key: PathLike | None = None,
        tls_name: str | None = None,
        token: str | None = None,
        token_file: PathLike | None = None,
    ):
        credentials = Credentials.of(
            tls_ca=tls_ca,
            tls_cert=tls_cert,
            tls_key=tls_key,
            tls_name=tls_name,
            token=token,
            token_file=token_file,
        )
        self._connection = Connection(address, credentials)
        self.address = str(self._connection.address)
        channel = self._connection.channel
        self.models = ModelServiceStub(channel)
        self.weights = WeightsServiceStub(channel)
        self.submissions = SubmissionServiceStub(channel)
        self.rounds = RoundServiceStub(channel)
        self.states = StateServiceStub(channel)
        self.peers = PeerServiceStub(channel)
        self.nodes = NodeServiceStub(channel)

    def close(self) -> None:
        """Ends the connection and the calls on it."""
        self._connection.close()

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
        trainer: str | None = None,
        timeout: float | None = None,
    ) -> Head:
        """The head, or the checkpoint that is named.

        With `after` it waits until the head is another one that can be trained on: the node has not contributed on it yet
        (`every_head` for observers, which take any). With `trainer` (a name; empty means `default`) it waits, also without
        `after`, until that trainer can submit on the head. A run that has ended answers at once, with its last checkpoint:
        then the answer's `complete` is true.

        In a model with personal tensors a trainer gets its own; without `trainer` they have their first values. With `checkpoint` or
        `confirmed_only` the name says whose they are, and nothing is waited for.

        `checkpoint="best"` is the best confirmed one by the model's first metric, `"best:accuracy"` by another.
        """
        request = weights_pb2.FetchWeightsRequest(
            model=model,
            after=after or "",
            checkpoint=checkpoint or "",
            confirmed_only=confirmed_only,
            every_head=every_head,
            trainer=trainer,
        )
        return self._fetch(request, None, timeout)

    def fetch_to(
        self,
        model: str,
        path: str | os.PathLike,
        *,
        checkpoint: str | None = None,
        confirmed_only: bool = False,
        trainer: str | None = None,
        timeout: float | None = None,
    ) -> Head:
        """Fetches into a safetensors file. `trainer` is as in `fetch`.

        It is written beside its place and comes there when it is whole and on the disk, so no reader gets half a model. The
        answer's `tensors` are empty: `open_file` or `load_file` read them.
        """
        request = weights_pb2.FetchWeightsRequest(
            model=model, checkpoint=checkpoint or "", confirmed_only=confirmed_only, trainer=trainer
        )
        download = Download(
            self._connection, request, lambda total: DiskSink(path, total), patience=self._patience(timeout)
        )
        try:
            download.run()
            download.sink.finish()
        except BaseException:
            download.discard()
            raise
        return Head.of(download.first, {}, request, self)

    def _fetch(
        self, request: weights_pb2.FetchWeightsRequest, patience: Patience | None, timeout: float | None
    ) -> Head:
        download = Download(self._connection, request, Arrays, patience=patience, timeout=timeout)
        download.run()
        return Head.of(download.first, download.sink.finish(), request, self)

    def heads(
        self, model: str, *, after: str | None = None, trainer: str = "", timeout: float | None = None
    ) -> Iterator[Head]:
        """The head, then every newer one that is there when the caller comes back for it, until the run ends.

        Only those that this trainer can still submit on (a name: needed when a node has several). It outlives restarts of
        the node. `timeout` is for each head. The last checkpoint of a run comes last, with `complete`; a model without an
        end goes on for ever.
        """
        while True:
            request = weights_pb2.FetchWeightsRequest(model=model, after=after or "", trainer=trainer)
            head = self._fetch(request, self._patience(timeout), None)
            after, complete = head.checkpoint, head.complete
            yield head
            if complete:
                return
            # Not to hold the last one while the next one comes.
            del head

    def _patience(self, timeout: float | None) -> Patience:
        return Patience(self._connection.address, timeout, self._connection.closed.wait)

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
        evaluation_samples: int | None = None,
        steps: float | None = None,
        idempotency_key: str = "",
        timeout: float | None = None,
    ) -> submission_pb2.Submission:
        """Hands in what was trained from `base` on `samples` rows: weights, or with `delta` weights minus base.

        Answers once it is durable on the node; `submission(answer.id)` says what became of it. Several trainers on one
        node need different names.

        `tensors` are all shared ones of the model. Frozen ones may be left out. Personal ones are kept on the node for this trainer,
        all or none of them; with `delta` they are left out.

        `metrics` that the model names go to all members: they describe `base`, measured on `evaluation_samples` rows (`samples`
        if not given). Others stay on the node. `steps` is the number of local steps, which `fednova/1` needs.
        """
        said = {"metrics": metrics or {}, "evaluation_samples": evaluation_samples, "steps": steps}
        fields = {"model": model, "base": base, "samples": samples, "trainer": trainer, **said}
        return self._submit(TensorFile(tensors), delta, timeout, idempotency_key=idempotency_key, **fields)

    def submit_file(
        self,
        model: str,
        path: str | os.PathLike,
        *,
        base: str,
        samples: int,
        delta: bool = False,
        trainer: str = "",
        metrics: Mapping[str, float] | None = None,
        evaluation_samples: int | None = None,
        steps: float | None = None,
        idempotency_key: str = "",
        timeout: float | None = None,
    ) -> submission_pb2.Submission:
        """`submit`, of a safetensors file."""
        said = {"metrics": metrics or {}, "evaluation_samples": evaluation_samples, "steps": steps}
        fields = {"model": model, "base": base, "samples": samples, "trainer": trainer, **said}
        return self._submit(DiskFile(path), delta, timeout, idempotency_key=idempotency_key, **fields)

    def _submit(
        self, content: Content, delta: bool, timeout: float | None, **fields: object
    ) -> submission_pb2.Submission:
        kind = weights_pb2.SUBMISSION_KIND_DELTA if delta else weights_pb2.SUBMISSION_KIND_WEIGHTS
        header = weights_pb2.SubmitWeightsRequest(kind=kind, **fields)
        upload = Upload(self._connection, self.weights.SubmitWeights, header, content, self._patience(timeout))
        return upload.run().submission

    def submission(self, id: str, *, wait: bool = False, timeout: float | None = None) -> submission_pb2.Submission:
        """What became of a submission; with `wait`, once that is final."""
        request = submission_pb2.GetSubmissionRequest(id=id, wait=wait)
        with self._connection.decoded():
            return self.submissions.GetSubmission(request, timeout=timeout).submission

    def create(
        self,
        model: str,
        tensors: Mapping[str, np.ndarray],
        *,
        strategy: str = "fedavg/1",
        params: Mapping[str, float] | None = None,
        aggregation: Sequence[str | tuple[str, Mapping[str, float]]] = (),
        members: Sequence[str] = (),
        seed: int | None = None,
        timeout: float | None = None,
        **spec: object,
    ) -> model_pb2.Model:
        """Makes a model from its first weights. `members` may contribute and read; without any it is this node alone.

        With `seed` the node makes the weights itself: of `tensors` only names, dtypes and shapes count (`np.empty` will do).
        `params` are the strategy's numbers, e.g. `mu`. `aggregation` are the rules by which updates become one, e.g.
        `[("nnm/1", {"f": 2}), ("trimmed-mean/1", {"f": 2})]`; none is the node's default for the members. More of `CreateModelRequest`'s fields go by name:
        `min_contributions`, `deadline_ms`, `codec`, `open`, `max_rounds`, … `metrics` are those that contributions carry, e.g.
        `{"loss": "lowest", "accuracy": "highest"}`, and `until` is the value of one that ends the run: `("accuracy", 0.95)`.
        `schedules` are numbers for trainers that change from round to round, each a curve (step, linear, cosine or exponential) and
        its points: `{"learning_rate": ("cosine", {1: 0.1, 100: 0.001})}`. `privacy` adds noise to updates before they leave
        their node: `("gaussian/1", {"clip": 1.0, "noise_multiplier": 0.5})`. `personal` names the tensors that each trainer has for
        itself, and `frozen` those that keep their first values: `personal=["bn.*"], frozen=["embedding.weight"]`.
        """
        fields = _spec(model, strategy, params, aggregation, members, spec)
        if seed is None:
            return self._create(TensorFile(tensors), timeout, **fields)
        first, *more = in_messages(schema_of(tensors))
        return self._create(None, timeout, seed=seed, tensors=first, later=more, **fields)

    def create_file(
        self,
        model: str,
        path: str | os.PathLike,
        *,
        strategy: str = "fedavg/1",
        params: Mapping[str, float] | None = None,
        aggregation: Sequence[str | tuple[str, Mapping[str, float]]] = (),
        members: Sequence[str] = (),
        timeout: float | None = None,
        **spec: object,
    ) -> model_pb2.Model:
        """`create`, from a safetensors file."""
        return self._create(DiskFile(path), timeout, **_spec(model, strategy, params, aggregation, members, spec))

    def _create(
        self,
        content: Content | None,
        timeout: float | None,
        later: Sequence[Sequence[model_pb2.TensorSpec]] = (),
        **fields: object,
    ) -> model_pb2.Model:
        header = model_pb2.CreateModelRequest(**fields)
        more = [model_pb2.CreateModelRequest(tensors=tensors) for tensors in later]
        upload = Upload(self._connection, self.models.CreateModel, header, content, self._patience(timeout), more)
        return upload.run().model

    def join(self, model: str, *, creator: str | None = None, timeout: float | None = None) -> None:
        """Joins a model as soon as this node has heard of it, and waits until its weights are here.

        A name is anyone's to give: say `name@id`, or the `creator` (node id or peer id). A bare name is taken only if this
        node knows the creator: from its configuration, or as a fellow member of a joined model.
        """
        Join(self._connection, model, creator or "", self._patience(timeout)).run()

    def leave(self, model: str, *, timeout: float | None = None) -> None:
        """Leaves a model on this node alone."""
        with self._connection.decoded():
            self.models.LeaveModel(model_pb2.LeaveModelRequest(model=model), timeout=timeout)

    def model(self, model: str, *, timeout: float | None = None) -> model_pb2.Model:
        """One model, its schema included."""
        with self._connection.decoded():
            found = self.models.GetModel(model_pb2.GetModelRequest(model=model), timeout=timeout).model
            return complete(self.models, found, timeout)

    def list_models(self, *, timeout: float | None = None) -> Iterator[model_pb2.Model]:
        """All joined and available models, without their schemas."""
        request = model_pb2.ListModelsRequest()
        while True:
            with self._connection.decoded():
                page = self.models.ListModels(request, timeout=timeout)
            yield from page.models
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    def watch_rounds(self, model: str, from_revision: int = 0) -> Iterator[round_pb2.WatchRoundsResponse]:
        """A model's rounds as they open, fill and are sealed. After a break go on from the last message's revision."""
        request = round_pb2.WatchRoundsRequest(model=model, from_revision=from_revision)
        return self._connection.decoded_stream(self.rounds.WatchRounds(request))

    def node(self, *, timeout: float | None = None) -> node_pb2.Node:
        """The node itself."""
        with self._connection.decoded():
            return self.nodes.GetNode(node_pb2.GetNodeRequest(), timeout=timeout).node


def _spec(
    model: str,
    strategy: str,
    params: Mapping[str, float] | None,
    aggregation: Sequence[str | tuple[str, Mapping[str, float]]],
    members: Sequence[str],
    more: Mapping[str, object],
) -> dict[str, object]:
    rule = common_pb2.Rule(id=strategy, params=params or {})
    named = [(given, {}) if isinstance(given, str) else given for given in aggregation]
    rules = [common_pb2.Rule(id=name, params=numbers) for name, numbers in named]
    return {"name": model, "strategy": rule, "aggregation": rules, "members": members, **_messages(more)}


_GOALS = {"lowest": common_pb2.METRIC_GOAL_LOWEST, "highest": common_pb2.METRIC_GOAL_HIGHEST}


_CURVES = {
    "step": model_pb2.SCHEDULE_CURVE_STEP,
    "linear": model_pb2.SCHEDULE_CURVE_LINEAR,
    "cosine": model_pb2.SCHEDULE_CURVE_COSINE,
    "exponential": model_pb2.SCHEDULE_CURVE_EXPONENTIAL,
}


def _schedule(name: str, given: tuple[str, Mapping[int, float]]) -> model_pb2.Schedule:
    curve, points = given
    if curve not in _CURVES:
        raise ValueError(f"schedules: {name}: {curve!r} is no curve: {', '.join(_CURVES)} are")
    ascending = [model_pb2.SchedulePoint(round=round, value=points[round]) for round in sorted(points)]
    return model_pb2.Schedule(curve=_CURVES[curve], points=ascending)


def _messages(more: Mapping[str, object]) -> dict[str, object]:
    """The fields with `metrics`, `until`, `schedules` and `privacy` as messages."""
    fields = dict(more)
    if isinstance(metrics := fields.get("metrics"), Mapping):
        unknown = set(metrics.values()) - set(_GOALS)
        if unknown:
            raise ValueError(f"metrics: {unknown} is neither 'lowest' nor 'highest'")
        fields["metrics"] = [common_pb2.Metric(name=name, goal=_GOALS[goal]) for name, goal in metrics.items()]
    if isinstance(until := fields.get("until"), tuple):
        metric, value = until
        fields["until"] = model_pb2.MetricTarget(metric=metric, value=value)
    if schedules := fields.get("schedules"):
        pairs = schedules.items()
        fields["schedules"] = {name: _schedule(name, given) if isinstance(given, tuple) else given for name, given in pairs}
    if isinstance(privacy := fields.get("privacy"), tuple):
        name, numbers = privacy
        fields["privacy"] = common_pb2.Rule(id=name, params=numbers)
    return fields


__all__ = ["Client", "Head"]
