"""A model's tensors by name, dtype and shape, which may be more than one message holds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from qres.layout import dtype_name
from qres.v1 import model_pb2
from qres.v1.model_pb2_grpc import ModelServiceStub

MESSAGE_BYTES_MAX = 1 << 20
"""Of a schema in one message. The contract takes four times as much, other fields included."""


def schema_of(tensors: Mapping[str, np.ndarray]) -> list[model_pb2.TensorSpec]:
    """What a node must know of arrays to make them itself."""
    return [
        model_pb2.TensorSpec(name=name, dtype=dtype_name(name, array.dtype), shape=array.shape)
        for name, array in tensors.items()
    ]


def in_messages(schema: list[model_pb2.TensorSpec]) -> Iterator[list[model_pb2.TensorSpec]]:
    """A schema, divided into parts that each fit into a message."""
    part, size = [], 0
    for tensor in schema:
        # A few bytes for the field's own number and length.
        size += tensor.ByteSize() + 8
        if part and size > MESSAGE_BYTES_MAX:
            yield part
            part, size = [], tensor.ByteSize() + 8
        part.append(tensor)
    yield part


def complete(models: ModelServiceStub, model: model_pb2.Model, timeout: float | None) -> model_pb2.Model:
    """Adds the tensors that did not fit into a model's own message."""
    # A model that is not joined has none here, though its number of tensors is known.
    token = str(len(model.tensors)) if 0 < len(model.tensors) < model.tensor_count else ""
    while token:
        request = model_pb2.ListTensorsRequest(model=f"{model.name}@{model.id}", page_token=token)
        page = models.ListTensors(request, timeout=timeout)
        model.tensors.extend(page.tensors)
        token = page.next_page_token
    return model
