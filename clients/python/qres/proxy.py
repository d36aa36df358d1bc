"""Proxies that the environment names, as gRPC's library takes them."""

from __future__ import annotations

import ipaddress
import os
import re

from qres.address import Address

_NAMES = ("grpc_proxy", "https_proxy", "http_proxy")
"""In the order in which gRPC's library looks at them; it reads no capital letters."""


def proxy_for(address: Address) -> str | None:
    """The proxy on the way to an address, for people: the variable and its value, without a password. `None` when there
    is none: this machine is never reached through a proxy."""
    if address.is_local:
        return None
    name = next((name for name in _NAMES if os.environ.get(name)), None)
    if name is None or _excepted(address.host):
        return None
    return f"{name}={re.sub(r'//[^/@]*@', '//', os.environ[name])}"


def _excepted(host: str) -> bool:
    """Whether `no_proxy` names a host: by the end of its name, or by a network that its number is in."""
    listed = os.environ.get("no_grpc_proxy") or os.environ.get("no_proxy") or ""
    for entry in filter(None, (entry.strip() for entry in listed.split(","))):
        if host.lower().endswith(entry.lower()):
            return True
        try:
            if ipaddress.ip_address(host) in ipaddress.ip_network(entry, strict=False):
                return True
        except ValueError:
            continue
    return False
