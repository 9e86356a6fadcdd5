"""Announce a Wyoming server in the local network, so that Home Assistant discovers it.

announce             announce the server until the block ends
check_announceable   check that other machines can reach an address
default_name         the name under which a server is announced
"""

import ipaddress
import platform
import re
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from harken.errors import HarkenError
from harken.serve.loopback import is_loopback

SERVICE_TYPE = "_wyoming._tcp.local."
_ANY_MULTICAST = ("224.0.0.251", 5353)  # of mDNS; no packet is sent to find the address
_MAX_NAME_BYTES = 63  # maximum for a DNS label


def default_name() -> str:
    """Return `harken-HOST`."""
    return f"harken-{re.sub(r'[^A-Za-z0-9-]', '-', platform.node().partition('.')[0]) or 'server'}"[:_MAX_NAME_BYTES]


def check_announceable(name: str, host: str) -> None:
    """Check that a server can be announced under this name and address.

    Raises
    ------
    HarkenError
        If the name cannot be used, or only this machine can reach the address.
    """
    if not 0 < len(name.encode()) <= _MAX_NAME_BYTES or "." in name:
        raise HarkenError(f"--zeroconf {name}: use a name of 1 to {_MAX_NAME_BYTES} bytes without dots")
    if not host or is_loopback(host):
        raise HarkenError(
            "--zeroconf announces the server to other machines, which cannot reach this --uri: "
            "use --uri tcp://0.0.0.0:10400"
        )


@asynccontextmanager
async def announce(name: str, host: str, port: int) -> AsyncIterator[None]:
    """Announce a Wyoming server by mDNS until the block ends.

    Parameters
    ----------
    name
        Name of the service.
    host
        Address that the server listens on. 0.0.0.0: the address of this machine in the local network.
    port
        Port of the server.

    Raises
    ------
    HarkenError
        If this machine is not in a network, or another server has the same name.
    """
    from zeroconf import NonUniqueNameException
    from zeroconf.asyncio import AsyncServiceInfo, AsyncZeroconf

    try:
        address = _packed_address(_address_in_network() if _is_any(host) else host)
        service = AsyncServiceInfo(SERVICE_TYPE, f"{name}.{SERVICE_TYPE}", addresses=[address], port=port)
        zeroconf = AsyncZeroconf()
    except OSError as error:
        raise HarkenError(
            f"--zeroconf: this machine is not in a network ({error.strerror or error}); leave it out, and add the server "
            "in Home Assistant by its address"
        ) from error
    try:
        await zeroconf.async_register_service(service)
        yield
    except NonUniqueNameException as error:
        raise HarkenError(f"--zeroconf {name}: another server has this name; give another one") from error
    finally:
        await zeroconf.async_unregister_all_services()
        await zeroconf.async_close()


def _address_in_network() -> str:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(_ANY_MULTICAST)
        return str(probe.getsockname()[0])


def _packed_address(host: str) -> bytes:
    """Return the IPv4 address of a host in binary form, or its IPv6 address if it has no other."""
    found: dict[int, str] = {family: str(address[0]) for family, *_, address in socket.getaddrinfo(host, None)}
    family = socket.AF_INET if socket.AF_INET in found else socket.AF_INET6
    return socket.inet_pton(family, found[family].partition("%")[0])


def _is_any(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_unspecified
    except ValueError:
        return False
