"""Helpers for the tests of the page in a real browser: open a page, and serve a folder."""

import functools
import http.server
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def open_page(executable: str, url: str, microphone_file: Path, **context: Any) -> Iterator[Any]:
    """Open the page with a fake microphone. Fail if the page logs an error to the console."""
    from playwright.sync_api import sync_playwright

    options = ["--no-sandbox", "--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream"]
    options.append(f"--use-file-for-fake-audio-capture={microphone_file}")
    errors: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=options)
        browser_context = browser.new_context(permissions=["microphone"], accept_downloads=True, **context)
        page = browser_context.new_page()
        page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(url)
        yield page
        browser.close()
    assert [
        error for error in errors if "status of 415" not in error
    ] == []  # 415: a test sent a file that is not audio


@contextmanager
def serve_folder(folder: Path) -> Iterator[str]:
    """Serve a folder like a static host, and yield its URL."""

    class QuietHandler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(QuietHandler, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:  # without this, pytest would wait forever for the thread of a failed test
        server.shutdown()
        thread.join()
        server.server_close()
