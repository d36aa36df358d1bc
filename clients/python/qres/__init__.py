"""Trainers for QRES Swarm.

A trainer is a loop: fetch the head (waiting for a newer one), train, submit the result on that base. Weights are
dictionaries of NumPy arrays. Everything the contract offers beyond the helpers of `Client` is in `qres.v1`, the stubs
generated from `proto/qres/v1`.

A node on another machine wants TLS and a token or a client certificate: arguments of `Client` or the environment's QRES_ADDR,
QRES_TLS_CA, QRES_TOKEN_FILE and so on name them.
"""

from qres.client import Client
from qres.errors import QresError
from qres.head import Head
from qres.proximal import proximal_gradient, proximal_term
from qres.tensors import dump, load, load_file, open_file

__all__ = [
    "Client",
    "Head",
    "QresError",
    "dump",
    "load",
    "load_file",
    "open_file",
    "proximal_gradient",
    "proximal_term",
]
