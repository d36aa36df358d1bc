"""Joining a model that may not be announced yet."""

from __future__ import annotations

import grpc

from qres.connection import Connection
from qres.errors import QresError
from qres.patience import Patience
from qres.v1 import model_pb2
from qres.v1.model_pb2_grpc import ModelServiceStub


class Join:
    """Follows the node's models until one is joined and its weights are here."""

    def __init__(self, connection: Connection, model: str, creator: str, patience: Patience):
        self._connection = connection
        self._models = ModelServiceStub(connection.channel)
        self._name, _, self._id = model.partition("@")
        self._wish = model_pb2.JoinModelRequest(model=model, creator=creator)
        self._patience = patience

    def run(self) -> None:
        """Waits for it, also when the node goes away and comes back."""
        while True:
            try:
                self._attempt()
                return
            except QresError as error:
                self._patience.failed(error)

    def _attempt(self) -> None:
        watch = self._models.WatchModels(model_pb2.WatchModelsRequest(), timeout=self._patience.left())
        try:
            for message in self._connection.decoded_stream(watch):
                # A watch begins with what is there: the node answers.
                self._patience.progressed()
                if self._is_joined(message.model):
                    return
        finally:
            watch.cancel()
        raise QresError(grpc.StatusCode.UNAVAILABLE, "the node ended its watch of models", "", "", None)

    def _is_joined(self, known: model_pb2.Model) -> bool:
        if known.name != self._name or (self._id and known.id != self._id):
            return False
        if known.standing == model_pb2.MODEL_STANDING_AVAILABLE:
            self._wish_for_it()
        return known.standing in (model_pb2.MODEL_STANDING_JOINED, model_pb2.MODEL_STANDING_COMPLETE)

    def _wish_for_it(self) -> None:
        try:
            with self._connection.decoded():
                self._models.JoinModel(self._wish, timeout=self._patience.left())
        except QresError as error:
            # Another one's model of that name: the creator's own may still be announced.
            if not self._wish.creator or error.reason != "CREATOR_UNKNOWN":
                raise
