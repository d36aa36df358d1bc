"""A checkpoint that was fetched."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from qres.errors import QresError
from qres.patience import LOG
from qres.v1 import submission_pb2, weights_pb2

if TYPE_CHECKING:
    from qres.client import Client


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
    """The weights, writable. Empty when they were fetched to a file."""
    model: str = ""
    """The model, as the fetch named it."""
    trainer: str = ""
    """The trainer, as the fetch named it; empty means `default`."""
    complete: bool = False
    """Whether the run has ended with this checkpoint: no more work is taken."""
    _client: Client | None = field(default=None, repr=False, compare=False)

    @classmethod
    def of(
        cls,
        first: weights_pb2.FetchWeightsResponse,
        tensors: dict[str, np.ndarray],
        request: weights_pb2.FetchWeightsRequest,
        client: Client,
    ) -> Head:
        """Puts together what a fetch asked and got."""
        known = first.checkpoint
        config = dict(first.trainer_config)
        return cls(
            known.id,
            known.round,
            known.confirmed,
            config,
            tensors,
            request.model,
            request.trainer,
            first.complete,
            client,
        )

    def submit(
        self,
        tensors: Mapping[str, np.ndarray],
        *,
        samples: int,
        delta: bool = False,
        trainer: str | None = None,
        metrics: Mapping[str, float] | None = None,
        evaluation_samples: int | None = None,
        steps: float | None = None,
        timeout: float | None = None,
    ) -> submission_pb2.Submission | None:
        """Hands in what was trained from this head, by the trainer that fetched it (or another, by name).

        `None` when this head takes no more work from that trainer: the round went on, it has submitted already, or the run
        has ended. That is no failure, and the log (`qres`, INFO) says why: go on with the next head.
        """
        if self._client is None:
            raise ValueError("this head was not fetched by a client: use Client.submit")
        try:
            return self._client.submit(
                self.model,
                tensors,
                base=self.checkpoint,
                samples=samples,
                delta=delta,
                trainer=self.trainer if trainer is None else trainer,
                metrics=metrics,
                evaluation_samples=evaluation_samples,
                steps=steps,
                timeout=timeout,
            )
        except QresError as error:
            if not (error.reason.startswith("BASE_") or error.reason == "MODEL_COMPLETE"):
                raise
            LOG.info("round %d of %s takes no more work of this trainer: %s", self.round, self.model, error)
            return None
