import hashlib
import http.client
import importlib
import io
import json
import re
import sys
import tarfile
import threading
import zipfile
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
from rich.console import Console

from harken.corpus import catalog, fetch, file_lock
from harken.corpus.catalog import CORPORA, PublishedCorpus, find_corpus
from harken.corpus.fetch import get_corpus
from harken.errors import HarkenError

RECORDINGS = {"yes": 3, "no": 2, "_background_noise_": 1}


def wav_files(top=""):
    noise = np.random.default_rng(7)
    return {
        f"{top}{word}/{take:08x}_nohash_0.wav": noise.bytes(20_000)
        for word, takes in RECORDINGS.items()
        for take in range(takes)
    }


def as_tar(files):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(f"./{name}")
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def as_zip(files):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as pack:
        for name, content in files.items():
            pack.writestr(name, content)
    return buffer.getvalue()


ARCHIVE = as_tar(wav_files())
HALF = len(ARCHIVE) // 2


class Server(ThreadingHTTPServer):
    """Serve `content` at every path, with the faults that a test sets."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.content = ARCHIVE
        self.etag = '"one"'
        self.requests = []  # (path, Range, If-Range)
        self.statuses = []  # status codes of the first requests, one for each
        self.drops = []  # bytes of the body after which the connection drops, one for each request
        self.ranges = True
        self.if_range = True
        self.repeats_etag = True  # in partial responses
        self.names_whole = True  # whether partial responses state the total length
        self.shift = 0  # error of the start of a partial response, in bytes
        self.announce = lambda length: length  # None: no Content-Length at all
        self.chunked = False
        self.stalls = 0  # number of requests whose connection stops sending in the middle
        self.closing = threading.Event()
        self.content_type = "application/gzip"

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}/archive"

    @property
    def asked(self):
        return [wanted for _, wanted, _ in self.requests]


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        server = self.server
        wanted, if_range = self.headers["Range"], self.headers["If-Range"]
        server.requests.append((self.path, wanted, if_range))
        if server.statuses:
            self.send_error(server.statuses.pop(0))
            return
        body, start = server.content, 0
        stale = server.if_range and if_range not in (None, server.etag)
        if wanted and server.ranges and not stale:
            start = int(re.fullmatch(r"bytes=(\d+)-", wanted)[1])
            if start >= len(body):
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{len(body)}")
                self.end_headers()
                return
            self.send_response(206)
            whole = (server.announce(len(body)) if server.names_whole else None) or "*"
            self.send_header("Content-Range", f"bytes {start + server.shift}-{len(body) - 1}/{whole}")
        else:
            self.send_response(200)
        if server.etag and (start == 0 or server.repeats_etag):
            self.send_header("ETag", server.etag)
        self.send_header("Content-Type", server.content_type)
        if server.chunked:
            self.send_header("Transfer-Encoding", "chunked")
        elif (length := server.announce(len(body))) is not None:
            self.send_header("Content-Length", str(length - start))
        self.end_headers()
        sent = body[start:][: server.drops.pop(0) if server.drops else None]
        if server.chunked:
            self.wfile.write(f"{len(sent):x}\r\n".encode() + sent + b"\r\n")
            if len(sent) == len(body) - start:
                self.wfile.write(b"0\r\n\r\n")
        else:
            self.wfile.write(sent)
        if server.stalls:
            server.stalls -= 1
            server.closing.wait(10)
        self.close_connection = True

    def log_message(self, *_):
        pass


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(fetch, "_BACK_OFF", (0.0, 0.0, 0.0))
    monkeypatch.setenv("no_proxy", "*")
    server = Server()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.closing.set()
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def publish(monkeypatch, server):
    """Return a function that adds the corpus `tiny` to the catalog. Keyword arguments replace its attributes."""

    def put(**known):
        corpus = replace(PublishedCorpus(name="tiny", url=server.url, recordings=RECORDINGS), **known)
        monkeypatch.setitem(catalog.CORPORA, "tiny", corpus)

    put(sha256=hashlib.sha256(ARCHIVE).hexdigest(), archive_bytes=len(ARCHIVE))
    return put


@pytest.fixture
def get(publish, tmp_path):
    """Return a function that downloads `tiny` and returns the printed lines."""

    def call(url=None):
        out = io.StringIO()
        assert get_corpus("tiny", tmp_path / "corpus", url=url, console=Console(file=out)) == tmp_path / "corpus"
        return out.getvalue().splitlines()

    return call


def names_in(folder):
    return sorted(path.name for path in folder.iterdir())


def content_of(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*.wav")}


def assert_complete(tmp_path):
    assert content_of(tmp_path / "corpus") == wav_files()
    assert names_in(tmp_path) == ["corpus"]


def assert_removed(tmp_path):
    assert names_in(tmp_path) == []


# The catalog


def test_catalog_contains_the_published_counts():
    clips = {name: (corpus.clips, corpus.folders) for name, corpus in CORPORA.items()}
    assert clips == {
        "speech-commands-v0.01": (64_721, 30),
        "speech-commands-v0.02": (105_829, 35),
        "mini-speech-commands": (8_000, 8),
        "speech-commands-test-v0.01": (3_081, 12),
        "speech-commands-test-v0.02": (4_890, 12),
    }
    for corpus in CORPORA.values():
        assert corpus.url.startswith("https://storage.googleapis.com/download.tensorflow.org/data/")
        assert corpus.sha256 is None or re.fullmatch("[0-9a-f]{64}", corpus.sha256)


def test_unknown_name_gets_a_suggestion_and_the_list():
    with pytest.raises(HarkenError, match=r"did you mean speech-commands-v0\.02\?") as caught:
        find_corpus("speech-comands-v0.2")
    assert all(name in str(caught.value) for name in CORPORA)
    with pytest.raises(HarkenError, match=r"no corpus is called 'xyzzy': harken can download speech-commands-v0\.01"):
        find_corpus("xyzzy")


# A well-behaved server


def test_tar_is_unpacked_with_its_words_directly_in_the_folder(get, server, tmp_path):
    assert get() == [f"tiny: 5 clips in 2 folders in {tmp_path / 'corpus'}"]
    assert_complete(tmp_path)
    assert server.requests == [("/archive", None, None)]


def test_zip_with_a_top_folder_is_unpacked_the_same(get, publish, server, tmp_path):
    publish()
    server.content = as_zip(wav_files("mini_speech_commands/"))
    get()
    assert_complete(tmp_path)


def test_sha256_is_printed_if_none_is_published(get, publish):
    publish()
    assert hashlib.sha256(ARCHIVE).hexdigest() in get()[0]


def test_another_address_is_used(get, publish, server, tmp_path):
    publish(url="http://127.0.0.1:9/nowhere")
    get(url=f"{server.url}/mirror")
    assert server.requests == [("/archive/mirror", None, None)]
    assert_complete(tmp_path)


@pytest.mark.parametrize("known_length", [True, False])
@pytest.mark.parametrize("chunked", [True, False])
def test_a_server_that_states_no_length(get, publish, server, tmp_path, chunked, known_length):
    publish(archive_bytes=len(ARCHIVE) if known_length else None)
    server.chunked, server.announce = chunked, lambda _: None
    get()
    assert_complete(tmp_path)


def test_an_empty_folder_is_used(get, tmp_path):
    (tmp_path / "corpus").mkdir()
    get()
    assert_complete(tmp_path)


def test_progress_bars_are_only_shown_on_a_terminal(publish, tmp_path):
    terminal = io.StringIO()
    get_corpus("tiny", tmp_path / "corpus", console=Console(file=terminal, force_terminal=True, width=100))
    assert all(word in terminal.getvalue() for word in ("downloading", "checking", "unpacking"))


# The folder


def test_a_complete_corpus_is_left_unchanged(get, server, tmp_path):
    get()
    assert get() == [f"tiny is already complete in {tmp_path / 'corpus'}"]
    assert len(server.requests) == 1


def test_a_folder_with_something_else_is_refused(get, server, tmp_path):
    get()
    (tmp_path / "corpus/yes/00000000_nohash_0.wav").unlink()
    with pytest.raises(HarkenError, match="neither empty nor a complete tiny: choose a new folder"):
        get()
    assert len(server.requests) == 1
    assert len(content_of(tmp_path / "corpus")) == 5


def test_a_file_is_refused(get, tmp_path):
    (tmp_path / "corpus").write_text("")
    with pytest.raises(HarkenError, match="is a file: choose a new folder"):
        get()


def test_a_folder_that_cannot_be_created_is_named(publish, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(HarkenError, match=f"cannot use {tmp_path / 'file'}"):
        get_corpus("tiny", tmp_path / "file/in/corpus")


def test_two_runs_at_once(get, server, tmp_path):
    fcntl = pytest.importorskip("fcntl")
    with (tmp_path / "corpus.part").open("ab") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(HarkenError, match="another run is downloading into"):
            get()
    assert server.requests == []
    assert (tmp_path / "corpus.part").exists()


def test_the_part_of_a_run_that_has_just_ended_is_not_written_to(get, server, tmp_path, monkeypatch):
    def lock(_):
        (tmp_path / "corpus.part").unlink()
        return True

    monkeypatch.setattr(fetch, "is_locked_by_us", lock)
    with pytest.raises(HarkenError, match="has just ended: run again"):
        get()
    assert server.requests == []


def test_without_locks_a_corpus_is_fetched_all_the_same(get, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "fcntl", None)  # as on Windows: `import fcntl` raises ImportError
    try:
        importlib.reload(file_lock)
        assert file_lock.fcntl is None
        monkeypatch.setattr(fetch, "is_locked_by_us", file_lock.is_locked_by_us)
        get()
        assert sum(1 for _ in (tmp_path / "corpus").rglob("*.wav")) == sum(RECORDINGS.values())
        assert not (tmp_path / "corpus.part").exists()
    finally:
        monkeypatch.undo()
        importlib.reload(file_lock)


def test_the_root_of_a_disk_is_refused(get, tmp_path, monkeypatch):
    (tmp_path / "corpus").mkdir()
    monkeypatch.setattr("os.path.ismount", lambda path: path == tmp_path / "corpus")
    with pytest.raises(HarkenError, match="root of a disk: choose a new folder in it"):
        get()


# A server that fails temporarily


def test_a_dropped_connection_is_resumed(get, server, tmp_path):
    server.drops = [1000, 2000]
    get()
    assert_complete(tmp_path)
    assert server.requests == [
        ("/archive", None, None),
        ("/archive", "bytes=1000-", '"one"'),
        ("/archive", "bytes=3000-", '"one"'),
    ]


def test_new_bytes_reset_the_number_of_tries(get, server, tmp_path):
    server.drops = [1000] * 9
    get()
    assert server.asked[1:] == [f"bytes={done}000-" for done in range(1, 10)]
    assert_complete(tmp_path)


def test_partial_responses_may_omit_optional_headers(get, publish, server, tmp_path):
    publish()
    server.repeats_etag, server.names_whole, server.drops = False, False, [1000, 1000]
    get()
    assert [if_range for _, _, if_range in server.requests] == [None, '"one"', '"one"']
    assert_complete(tmp_path)


def test_a_dropped_chunked_transfer_is_resumed(get, publish, server, tmp_path):
    publish()
    server.chunked, server.announce, server.drops = True, lambda _: None, [1000]
    get()
    assert_complete(tmp_path)
    assert server.asked == [None, "bytes=1000-"]


def test_giving_up_keeps_the_part_and_the_next_call_continues(get, server, tmp_path):
    server.drops = [1000, 0, 0, 0]
    with pytest.raises(
        HarkenError, match=r"stopped at 1,000 of [\d,]+ bytes; run the same command to continue from 1,000"
    ):
        get()
    assert (tmp_path / "corpus.part").read_bytes() == ARCHIVE[:1000]
    server.requests.clear()
    get()
    assert server.requests == [("/archive", "bytes=1000-", '"one"')]
    assert_complete(tmp_path)


def test_an_interruption_keeps_the_part(get, server, tmp_path, monkeypatch):
    read1 = http.client.HTTPResponse.read1
    monkeypatch.setattr(fetch, "_BLOCK", 4096)

    def interrupted(response, size):
        if (tmp_path / "corpus.part").stat().st_size:
            raise KeyboardInterrupt
        return read1(response, size)

    monkeypatch.setattr(http.client.HTTPResponse, "read1", interrupted)
    with pytest.raises(KeyboardInterrupt):
        get()
    monkeypatch.setattr(http.client.HTTPResponse, "read1", read1)
    size = (tmp_path / "corpus.part").stat().st_size
    assert 0 < size < len(ARCHIVE)
    get()
    assert server.asked == [None, f"bytes={size}-"]
    assert_complete(tmp_path)


def test_an_interruption_while_unpacking_needs_no_second_download(get, server, tmp_path, monkeypatch):
    difference = fetch._difference

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(fetch, "_difference", interrupted)
    with pytest.raises(KeyboardInterrupt):
        get()
    assert names_in(tmp_path) == ["corpus.part", "corpus.part.json"]
    monkeypatch.setattr(fetch, "_difference", difference)
    get()
    assert len(server.requests) == 1
    assert_complete(tmp_path)


def test_a_connection_without_data_is_closed_and_resumed(get, server, tmp_path, monkeypatch):
    monkeypatch.setattr(fetch, "_TIMEOUT_S", 0.2)
    server.drops, server.stalls = [1000], 1
    get()
    assert server.asked == [None, "bytes=1000-"]
    assert_complete(tmp_path)


def test_temporary_errors_are_retried(get, server, tmp_path):
    server.statuses = [503, 500, 429]
    get()
    assert len(server.requests) == 4
    assert_complete(tmp_path)


def test_a_persistent_error_is_reported(get, server, tmp_path):
    server.statuses = [503] * 9
    with pytest.raises(HarkenError, match="HTTP 503 Service Unavailable: try again later"):
        get()
    assert len(server.requests) == 4
    assert_removed(tmp_path)


def test_a_missing_file_is_not_requested_again(get, server, tmp_path):
    server.statuses = [404]
    with pytest.raises(HarkenError, match="HTTP 404 Not Found; check the address"):
        get()
    assert len(server.requests) == 1
    assert_removed(tmp_path)


def test_an_unreachable_server_is_reported(get, tmp_path):
    with pytest.raises(HarkenError, match=r"cannot download http://127.0.0.1:9/x: Connection refused: try again later"):
        get(url="http://127.0.0.1:9/x")
    assert_removed(tmp_path)


@pytest.mark.parametrize("url", ["archive.tar.gz", "file:///etc/passwd", "ftp://host/x", "http://", "http://a b/"])
def test_an_invalid_address_is_refused(get, url):
    with pytest.raises(HarkenError, match="give an address that starts with https://"):
        get(url=url)


# A server that violates the protocol


def test_a_server_without_ranges_sends_the_whole_file_again(get, server, tmp_path):
    server.ranges, server.drops = False, [1000, 2000]
    get()
    assert server.asked == [None, "bytes=1000-", "bytes=2000-"]
    assert_complete(tmp_path)


def test_a_partial_response_with_another_start_is_not_appended(get, server, tmp_path):
    server.shift, server.drops = 7, [1000]
    get()
    assert server.asked == [None, "bytes=1000-", None]
    assert_complete(tmp_path)


def test_a_response_without_a_body_is_an_error(get, server, tmp_path):
    server.statuses = [204]
    with pytest.raises(HarkenError, match="HTTP 204"):
        get()
    assert_removed(tmp_path)


@pytest.mark.parametrize("if_range", [True, False])
def test_a_file_that_has_changed_is_downloaded_from_the_start(get, server, tmp_path, if_range):
    server.content, server.drops = bytes(len(ARCHIVE)), [1000, 0, 0, 0]
    with pytest.raises(HarkenError, match="continue from 1,000"):
        get()
    server.content, server.etag, server.if_range = ARCHIVE, '"two"', if_range
    get()
    assert server.requests[-1][1:] == (("bytes=1000-", '"one"') if if_range else (None, None))
    assert_complete(tmp_path)


def test_a_part_of_another_address_or_without_a_note_is_not_resumed(get, server, tmp_path):
    (tmp_path / "corpus.part").write_bytes(b"8 others")
    get()
    assert server.asked == [None]
    assert_complete(tmp_path)


@pytest.mark.parametrize("note", ["", "[]", "{}", '{"url": "http://other/", "total": 9, "validator": null}'])
def test_an_inconsistent_note_is_ignored(get, server, tmp_path, note):
    (tmp_path / "corpus.part").write_bytes(b"8 others")
    (tmp_path / "corpus.part.json").write_text(note)
    get()
    assert server.asked == [None]
    assert_complete(tmp_path)


def test_without_a_validator_the_length_must_agree(get, publish, server, tmp_path):
    publish()
    server.etag, server.content, server.drops = None, bytes(len(ARCHIVE) + 5), [1000, 0, 0, 0]
    with pytest.raises(HarkenError, match="continue from 1,000"):
        get()
    server.content = ARCHIVE
    get()
    assert server.asked[-2:] == ["bytes=1000-", None]
    assert_complete(tmp_path)


def test_another_length_than_the_published_one_is_refused_before_the_download(get, server, tmp_path):
    server.announce = lambda length: length + 1
    with pytest.raises(HarkenError, match=r"a file of [\d,]+ bytes, where tiny has [\d,]+: check the address"):
        get()
    assert len(server.requests) == 1
    assert_removed(tmp_path)


def test_a_stated_length_that_is_too_large(get, publish, server, tmp_path):
    publish()
    server.announce = lambda length: length + 1000
    with pytest.raises(HarkenError, match=r"announced [\d,]+ bytes but has no more than [\d,]+"):
        get()
    assert server.asked == [None, f"bytes={len(ARCHIVE)}-"]
    assert_removed(tmp_path)


def test_a_stated_length_that_is_too_large_without_ranges(get, publish, server):
    publish()
    server.announce, server.ranges = lambda length: length + 1000, False
    with pytest.raises(HarkenError, match=rf"the server stopped at {len(ARCHIVE):,} of {len(ARCHIVE) + 1000:,} bytes"):
        get()
    assert len(server.requests) == 4


def test_a_stated_length_that_is_too_small(get, publish, server, tmp_path):
    publish()
    server.announce = lambda length: HALF
    with pytest.raises(HarkenError, match=r"is damaged .*; the download was removed"):
        get()
    assert_removed(tmp_path)


def test_bytes_beyond_the_published_length_are_cut_off(get, server, tmp_path):
    server.chunked, server.announce, server.content = True, lambda _: None, ARCHIVE + bytes(1000)
    get()
    assert len(server.requests) == 1
    assert_complete(tmp_path)


# A server that sends something else


def test_a_wrong_archive_is_removed(get, server, tmp_path):
    server.content = ARCHIVE[:-1] + b"\1"
    with pytest.raises(
        HarkenError, match=r"does not contain tiny: its SHA-256 is \w{64}, not \w{64}; the download was"
    ):
        get()
    assert_removed(tmp_path)


def test_a_corpus_with_other_counts_is_removed(get, publish, server, tmp_path):
    publish()
    server.content = as_tar({name: content for name, content in wav_files().items() if "00000002" not in name})
    with pytest.raises(HarkenError, match="2 recordings in 'yes', where tiny has 3; the download was removed"):
        get()
    assert_removed(tmp_path)


def test_a_web_page_is_refused(get, publish, server, tmp_path):
    publish()
    server.content, server.content_type = b"<!DOCTYPE html>please log in", "text/html; charset=utf-8"
    with pytest.raises(HarkenError, match="answers with a web page"):
        get()
    assert_removed(tmp_path)


def test_a_malicious_archive_is_removed(get, publish, server, tmp_path):
    publish()
    server.content = as_tar({**wav_files(), "../../evil.wav": b"evil"})
    with pytest.raises(HarkenError, match=r"a path outside of the folder.*; the download was removed"):
        get()
    assert_removed(tmp_path)


def test_a_full_disk_keeps_the_bytes_received(get, server, tmp_path, monkeypatch):
    class FullDisk(fetch._Download):
        def _receive(self, response):
            self._file.write(response.read1(1000))
            raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(fetch, "_Download", FullDisk)
        with pytest.raises(HarkenError, match="No space left on device; make room"):
            get()
    assert (tmp_path / "corpus.part").read_bytes() == ARCHIVE[:1000]
    assert json.loads((tmp_path / "corpus.part.json").read_text())["total"] == len(ARCHIVE)
    get()
    assert server.asked == [None, "bytes=1000-"]
