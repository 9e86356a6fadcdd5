"""Check that a server can be reached before a download, so that a machine without a network falls back within seconds."""

import http.client
import threading
import urllib.error
import urllib.request


def is_reachable(url: str, *, timeout_s: float = 4.0) -> bool:
    """Return whether a server answers a HEAD request for `url` in time. An answer that says no (404) is an answer.

    The request runs in a thread of its own: looking up a host name can take much longer than any socket's timeout.
    """
    answered: list[bool] = []

    def ask() -> None:
        request = urllib.request.Request(url, method="HEAD")
        try:
            with urllib.request.urlopen(request, timeout=timeout_s):
                answered.append(True)
        except urllib.error.HTTPError:
            answered.append(True)
        except (OSError, ValueError, http.client.HTTPException):
            pass

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(timeout_s)
    return bool(answered)
