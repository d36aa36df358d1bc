"""FedProx's proximal term (Li et al. 2020, "Federated optimization in heterogeneous networks", eq. 2).

It keeps trainers with skewed data near the weights they fetched. `mu` comes with them: `head.config["mu"]`.
Both functions work on anything with NumPy's arithmetic, PyTorch tensors included; give them the trained parameters only,
not counters.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def proximal_term(params: Mapping[str, Any], reference: Mapping[str, Any], mu: float) -> Any:
    """The term to add to the loss: mu / 2 * |params - reference|^2. With autograd that is all there is to do."""
    return mu / 2 * sum(((param - reference[name]) ** 2).sum() for name, param in params.items())


def proximal_gradient(params: Mapping[str, Any], reference: Mapping[str, Any], mu: float) -> dict[str, Any]:
    """The term's gradient, mu * (params - reference), to add to each parameter's own."""
    return {name: mu * (param - reference[name]) for name, param in params.items()}
