"""Exit with 0 if a server of harken answers in this container, over HTTP or the Wyoming protocol, and with 1 otherwise.

python health.py [HTTP_PORT WYOMING_PORT]     default: 8000 and 10400
"""

import json
import socket
import sys
import urllib.request

TIMEOUT_S = 2.0


def http_answers(port: int) -> bool:
    """Return whether the server says that it is well. The check needs no token."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=TIMEOUT_S) as response:
            return bool(response.status == 200)
    except (OSError, ValueError):
        return False


def wyoming_answers(port: int) -> bool:
    """Return whether a `ping` is answered with `pong`."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT_S) as connection:
            connection.sendall(b'{"type": "ping"}\n')
            answer = json.loads(connection.makefile("rb").readline(65536))
            return isinstance(answer, dict) and answer.get("type") == "pong"
    except (OSError, ValueError):
        return False


if __name__ == "__main__":
    ports = [int(port) for port in sys.argv[1:3]] or [8000, 10400]
    sys.exit(0 if http_answers(ports[0]) or wyoming_answers(ports[-1]) else 1)
