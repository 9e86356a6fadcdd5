"""The announcement of the Wyoming server in the network."""

import asyncio
from typing import Any

import pytest

pytest.importorskip("wyoming")


def test_the_server_is_announced(monkeypatch: pytest.MonkeyPatch) -> None:
    zeroconf = pytest.importorskip("zeroconf.asyncio")
    import harken.serve.wyoming_discovery as discovery

    seen: list[Any] = []

    class Recorder:
        async def async_register_service(self, service: Any) -> None:
            seen.append(service)

        async def async_unregister_all_services(self) -> None:
            seen.append("unregistered")

        async def async_close(self) -> None:
            seen.append("closed")

    monkeypatch.setattr(zeroconf, "AsyncZeroconf", Recorder)

    async def run() -> None:
        async with discovery.announce("kitchen", "192.0.2.7", 10400):
            service = seen[0]
            assert service.type == "_wyoming._tcp.local."
            assert service.name == "kitchen._wyoming._tcp.local."
            assert service.port == 10400
            assert service.parsed_addresses() == ["192.0.2.7"]

    asyncio.run(run())
    assert seen[1:] == ["unregistered", "closed"]
    assert discovery.default_name().startswith("harken-")


def test_addresses_of_both_versions_are_packed(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("zeroconf")
    from harken.serve.wyoming_discovery import _packed_address

    assert _packed_address("192.0.2.7") == bytes([192, 0, 2, 7])
    assert _packed_address("2001:db8::7") == bytes.fromhex("20010db8000000000000000000000007")
