"""Addresses that only programs on this machine reach."""

import ipaddress


def is_loopback(host: str) -> bool:
    """Return whether a host, as a name or an address, can be reached only from this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
