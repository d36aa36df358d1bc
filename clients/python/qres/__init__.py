"""Trainers for QRES Swarm.

A trainer is a loop: fetch the head (waiting for a newer one), train, submit the result on that base. Weights are
dictionaries of NumPy arrays. Everything the contract offers beyond the helpers of `Client` is in `qres.v1`, the stubs
generated from `proto/qres/v1`.
"""

from qres.client import Client, Head
from qres.errors import QresError
from qres.proximal import proximal_gradient, proximal_term
from qres.tensors import dump, load

__all__ = ["Client", "Head", "QresError", "dump", "load", "proximal_gradient", "proximal_term"]
