"""A wake-word server for Home Assistant and other voice assistants that use the Wyoming protocol.

serve_wyoming   run the server until a signal stops it
parse_uri       read the value of `--uri`
Address         where the server listens
"""

import asyncio
import errno
import logging
import os
import signal
import socket
import stat
import sys
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from harken.errors import HarkenError
from harken.serve.limits import Limits
from harken.serve.workers import Workers
from harken.serve.wyoming_connection import Connection, Streams
from harken.serve.wyoming_discovery import announce
from harken.serve.wyoming_messages import MAX_JSON_BYTES
from harken.serve.wyoming_models import WakeWords

_BACKLOG = 1024

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Address:
    """Where the server listens.

    Attributes
    ----------
    scheme
        `tcp`, `unix` or `stdio`.
    host, port
        For `tcp`. Port 0: any free port.
    path
        Path of the socket, for `unix`.
    """

    scheme: Literal["tcp", "unix", "stdio"]
    host: str = ""
    port: int = 0
    path: Path = Path()


def parse_uri(uri: str) -> Address:
    """Read the value of `--uri`.

    Raises
    ------
    HarkenError
        If it is not `tcp://HOST:PORT`, `unix://PATH` or `stdio://`.
    """
    problem = HarkenError(
        f"--uri {uri}: write it as tcp://HOST:PORT, for example tcp://0.0.0.0:10400, as unix:///PATH, or as stdio://"
    )
    try:
        parts = urlsplit(uri)
        port = parts.port
    except ValueError as error:
        raise problem from error
    if parts.scheme == "stdio":
        return Address("stdio")
    if parts.scheme == "unix" and (path := parts.netloc + parts.path):
        return Address("unix", path=Path(path))
    if parts.scheme == "tcp" and parts.hostname and port is not None:
        return Address("tcp", host=parts.hostname, port=port)
    raise problem


def serve_wyoming(
    words: WakeWords,
    address: Address,
    *,
    limits: Limits | None = None,
    threads: int | None = None,
    service_name: str | None = None,
) -> None:
    """Run the server until SIGTERM or Ctrl-C. With `stdio://`, until standard input ends.

    The address is printed as soon as clients can connect.

    Parameters
    ----------
    words
        Wake words to detect.
    address
        Where to listen.
    limits
        Limits on connections, messages and times. Default: `Limits()`.
    threads
        Number of inference threads. Default: one per CPU core.
    service_name
        Name under which the server is announced in the network. Default: it is not announced.

    Raises
    ------
    HarkenError
        If the address cannot be opened, or the server cannot be announced.
    """
    server = WyomingServer(words, limits=limits or Limits(), threads=threads or os.cpu_count() or 1)
    try:
        asyncio.run(server.run(address, service_name=service_name))
    finally:
        server.close()


class WyomingServer:
    """Accept clients, up to a limit, and answer each in a separate task.

    Parameters
    ----------
    words
        Wake words to detect.
    limits
        Limits on connections, messages and times.
    threads
        Number of inference threads.
    """

    def __init__(self, words: WakeWords, *, limits: Limits, threads: int) -> None:
        self._words = words
        self._limits = limits
        self._workers = Workers(threads)
        self._streams = Streams(limits.streams)
        self._connections: dict[Connection, asyncio.Task[None] | None] = {}
        self._accepted = 0

    def close(self) -> None:
        """Stop the threads."""
        self._workers.close()

    async def run(self, address: Address, *, service_name: str | None = None) -> None:
        """Serve clients until SIGTERM, or until this task is canceled."""
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        with suppress(NotImplementedError):  # Windows
            loop.add_signal_handler(signal.SIGTERM, stop.set)
        if address.scheme == "stdio":
            await self._serve_stdio(stop)
            return
        async with AsyncExitStack() as opened:
            port = await opened.enter_async_context(self.listening(address))
            if service_name is not None:
                await opened.enter_async_context(announce(service_name, address.host, port))
            await stop.wait()

    @asynccontextmanager
    async def listening(self, address: Address) -> AsyncIterator[int]:
        """Accept clients at an address, print it, and yield the port (0 for `unix`). Close all connections at the end."""
        if address.scheme == "unix":
            bound = _bind_unix(address.path)
            server = await asyncio.start_unix_server(self._accept, sock=bound, limit=MAX_JSON_BYTES, backlog=_BACKLOG)
            name, port = f"unix://{address.path}", 0
        else:
            bound = _bind_tcp(address.host, address.port)
            server = await asyncio.start_server(self._accept, sock=bound, limit=MAX_JSON_BYTES, backlog=_BACKLOG)
            port = bound.getsockname()[1]
            name = f"tcp://{f'[{address.host}]' if ':' in address.host else address.host}:{port}"
        try:
            print(name, flush=True)
            yield port
        finally:
            server.close()
            tasks = [task for task in self._connections.values() if task is not None]
            for connection in self._connections:
                connection.close()  # asyncio logs an error for each task that is canceled instead
            if tasks:
                await asyncio.wait(tasks, timeout=self._limits.drain_s)
            if address.scheme == "unix":
                address.path.unlink(missing_ok=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._connections) >= self._limits.connections and not self._close_idle_connection():
            logger.warning("%d clients are connected already: another one was refused", len(self._connections))
            writer.close()
            return
        await self._answer(reader, writer)

    def _close_idle_connection(self) -> bool:
        """Close the connection that has been silent for longest, and return whether there is one."""
        longest = min(self._connections, key=lambda connection: connection.last_message)
        if time.monotonic() - longest.last_message < self._limits.idle_s:
            return False
        longest.close()
        self._connections.pop(longest)
        return True

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._accepted += 1
        name = f"client {self._accepted}"
        connection = Connection(
            reader,
            writer,
            words=self._words,
            limits=self._limits,
            workers=self._workers,
            streams=self._streams,
            name=name,
        )
        self._connections[connection] = asyncio.current_task()
        try:
            await connection.run()
        except Exception:  # an error in one connection must not end the others
            logger.exception("%s: internal error", name)
        finally:
            self._connections.pop(connection, None)
            writer.close()

    async def _serve_stdio(self, stop: asyncio.Event) -> None:
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(limit=MAX_JSON_BYTES)
        try:
            await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
            transport, protocol = await loop.connect_write_pipe(
                lambda: asyncio.StreamReaderProtocol(asyncio.StreamReader()), sys.stdout
            )
        except (ValueError, OSError, NotImplementedError) as error:
            raise HarkenError(
                "--uri stdio://: standard input and output must be pipes; start the server from a program that talks to it"
            ) from error
        writer = asyncio.StreamWriter(transport, protocol, None, loop)
        answering = asyncio.create_task(self._answer(reader, writer))
        stopping = asyncio.create_task(stop.wait())
        await asyncio.wait([answering, stopping], return_when=asyncio.FIRST_COMPLETED)
        for task in (answering, stopping):
            task.cancel()
        await asyncio.gather(answering, stopping, return_exceptions=True)


def _bind_tcp(host: str, port: int) -> socket.socket:
    no_address = HarkenError(f"--uri: this machine has no address {host}; use tcp://0.0.0.0:{port}")
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        bound = socket.socket(family, kind, protocol)
    except (OSError, UnicodeError) as error:  # UnicodeError: no name of a host
        raise no_address from error
    if sys.platform != "win32":  # on Windows, two servers could then share a port
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind(address)
    except OSError as error:
        bound.close()
        if error.errno == errno.EADDRNOTAVAIL:
            raise no_address from error
        raise HarkenError(
            f"--uri: cannot open port {port} on {host} ({error.strerror}); choose another port"
        ) from error
    return bound


def _bind_unix(path: Path) -> socket.socket:
    if sys.platform == "win32":
        raise HarkenError("--uri unix://: Windows has no Unix sockets in Python; use tcp://127.0.0.1:10400")
    bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        if path.exists():
            if not stat.S_ISSOCK(path.stat().st_mode):
                raise HarkenError(f"--uri: {path} is a file and not a socket; choose another path")
            if _is_answered(path):
                raise HarkenError(f"--uri: another server listens at {path}; stop it, or choose another path")
            path.unlink()  # left behind by a server that was killed
        bound.bind(str(path))
    except OSError as error:
        bound.close()
        raise HarkenError(
            f"--uri: cannot create the socket {path} ({error.strerror or error}); choose another path"
        ) from error
    except HarkenError:
        bound.close()
        raise
    return bound


def _is_answered(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(str(path))
        except OSError:
            return False
    return True
