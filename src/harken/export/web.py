"""Export a model as a static website: the page of `harken serve`, with the model running in the browser.

write_web             write the folder
teaching_page_files   the files with which the page can learn a phrase
fetch_ort             download onnxruntime-web from npm, at a pinned version
"""

import base64
import hashlib
import http.client
import io
import json
import os
import re
import secrets
import shutil
import tarfile
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from harken.cache import default_cache
from harken.enrollment.teaching import teaching_files
from harken.errors import HarkenError
from harken.files import DISK_FULL, replacing, require_writable
from harken.progress import progress
from harken.runtime.listener import Listener
from harken.runtime.modelfile import ModelFile
from harken.runtime.recognizer import Recognizer
from harken.runtime.wake_listener import DEFAULT_COMMAND_S, WakeListener
from harken.serve.card import card_json
from harken.serve.page_files import mark_teaching, page_files

ORT_VERSION = "1.23.2"
ORT_FILES = ("ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm")
_ORT_INTEGRITY = "sha512-T09JUtMn+CZLk3mFwqiH0lgQf+4S7+oYHHtk6uhaYAAJI95bTcKi5bOOZYwORXfS/RLZCjDDEXGWIuOCAFlEjg=="
_REGISTRY = "https://registry.npmjs.org"
_BLOCK = 1 << 18  # bytes
_TIMEOUT_S = 30

# Static hosts do not send our headers, so the policy is in the page. It is that of `harken serve`, except frame-ancestors,
# which has no effect in a page.
_POLICY = (
    "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "media-src 'self' blob:; base-uri 'none'; form-action 'none'"
)
# What an export consists of, and what it has with --teach and --wake.
_ALWAYS_THERE = frozenset({"index.html", "page", "card.json", "model.onnx", "package.json", "ort"})
_SOMETIMES_THERE = frozenset({"teach", "wake.onnx", "wake-card.json"})
_SERVED_ONLY = frozenset({"engine.js", "docs.html", "docs.js", "index.html"})


def write_web(
    model: str | os.PathLike[str],
    folder: str | os.PathLike[str],
    *,
    ort: Path | None = None,
    teach: bool = False,
    wake: str | os.PathLike[str] | None = None,
    command_s: float = DEFAULT_COMMAND_S,
) -> Path:
    """Write page, model, card and onnxruntime-web into a folder for any static host.

    The model file is copied unchanged.

    Parameters
    ----------
    model
        A path, a run folder, or the name of a bundled model.
    folder
        The folder to create. An earlier export in it is replaced.
    ort
        Folder that contains ORT_FILES. Default: download them once and keep them in the cache.
    teach
        Add the files with which visitors can teach the page a wake phrase (14 MB).
    wake
        Model of a wake phrase, which is copied, too. In live audio, words then count only after it. Default: none.
    command_s
        Time after the wake phrase during which words count, in seconds.

    Returns
    -------
    Path
        The index.html of the folder.

    Raises
    ------
    HarkenError
        `folder` contains anything but an earlier export, onnxruntime-web cannot be downloaded, the package with the
        speech embedding is missing, which `teach` needs, both models have the same words, or `command_s` is out of range.
    """
    source = ModelFile(model)
    phrase, wake_card = None, None
    if wake is not None:
        listener = Listener(Recognizer(wake), source_rate=source.card.sample_rate)
        WakeListener(listener, Listener(Recognizer(model), source_rate=source.card.sample_rate), command_s=command_s)
        phrase = ModelFile(wake)
        wake_card = {"words": list(phrase.card.words), "command_s": command_s}
    runtime = fetch_ort() if ort is None else _require_ort_files(ort)
    teaching = teaching_files() if teach else {}
    target = Path(folder)
    with _replacing_folder(target) as made:
        (made / "page").mkdir()
        page = page_files()
        for name, content in page.items():
            if name not in _SERVED_ONLY:
                (made / "page" / ("engine.js" if name == "engine-browser.js" else name)).write_bytes(content)
        index = (mark_teaching(page["index.html"]) if teach else page["index.html"]).decode()
        policy = f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        index = re.sub(r'(<meta charset="utf-8">)', rf"\1\n{policy}", index, count=1)
        (made / "index.html").write_text(index, encoding="utf-8")
        (made / "card.json").write_text(json.dumps(card_json(source, wake=wake_card), indent=1), encoding="utf-8")
        shutil.copyfile(source.path, made / "model.onnx")
        if phrase is not None:
            (made / "wake-card.json").write_text(json.dumps(card_json(phrase), indent=1), encoding="utf-8")
            shutil.copyfile(phrase.path, made / "wake.onnx")
        # With this file, all versions of Node load page/engine.js as a module.
        (made / "package.json").write_text('{"type": "module"}\n', encoding="utf-8")
        (made / "ort").mkdir()
        for name in ORT_FILES:
            shutil.copyfile(runtime / name, made / "ort" / name)
        if teach:
            (made / "teach").mkdir()
        for name, content in teaching.items():
            (made / "teach" / name).write_bytes(content)
    return target / "index.html"


def teaching_page_files(*, ort: Path | None = None) -> dict[str, bytes]:
    """Return the files with which the page of `harken serve` can learn a phrase in the browser, by path.

    Parameters
    ----------
    ort
        Folder that contains ORT_FILES. Default: download them once and keep them in the cache.

    Raises
    ------
    HarkenError
        A file of harken is damaged, or onnxruntime-web cannot be downloaded.
    """
    learned_with = {f"teach/{name}": content for name, content in teaching_files().items()}
    runtime = fetch_ort() if ort is None else _require_ort_files(ort)
    return learned_with | {f"ort/{name}": (runtime / name).read_bytes() for name in ORT_FILES}


def fetch_ort(cache: Path | None = None) -> Path:
    """Return a folder that contains ORT_FILES. They are downloaded once, and verified by SHA-512.

    The environment variable NPM_CONFIG_REGISTRY names another registry than npm's.

    Parameters
    ----------
    cache
        The cache folder. Default: harken's.

    Raises
    ------
    HarkenError
        The download fails, or differs from the published archive.
    """
    folder = (cache or default_cache()) / f"onnxruntime-web-{ORT_VERSION}"
    if all((folder / name).is_file() for name in ORT_FILES):
        return folder
    registry = os.environ.get("NPM_CONFIG_REGISTRY", _REGISTRY).rstrip("/")
    url = f"{registry}/onnxruntime-web/-/onnxruntime-web-{ORT_VERSION}.tgz"
    _require_writable_cache(folder)
    archive = _download(url)
    found = base64.b64encode(hashlib.sha512(archive).digest()).decode()
    if f"sha512-{found}" != _ORT_INTEGRITY:
        raise HarkenError(
            f"{url} is not the published archive: give a folder that contains onnxruntime-web with --ort DIR"
        )
    with tarfile.open(fileobj=io.BytesIO(archive)) as packed:
        for name in ORT_FILES:
            member = packed.extractfile(f"package/dist/{name}")
            assert member is not None  # The digest guarantees the content of the archive.
            with replacing(folder / name) as temporary:
                temporary.write_bytes(member.read())
    return folder


def _require_writable_cache(folder: Path) -> None:
    try:
        require_writable(folder / ORT_FILES[0])
    except HarkenError as error:
        raise HarkenError(
            f"cannot write to the cache {folder}: set HARKEN_CACHE to a folder you may write to, or give a folder that contains "
            f"onnxruntime-web {ORT_VERSION} with --ort DIR"
        ) from error


def _download(url: str) -> bytes:
    try:
        with urllib.request.urlopen(url, timeout=_TIMEOUT_S) as answer:
            size = int(answer.headers.get("Content-Length") or 0)
            blocks = iter(lambda: answer.read(_BLOCK), b"")
            return b"".join(progress(blocks, "downloading onnxruntime-web", total=-(-size // _BLOCK) or None))
    except (OSError, ValueError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", error)
        raise HarkenError(f"cannot download {url} ({reason}): give a folder that contains it with --ort DIR") from error


def _require_ort_files(folder: Path) -> Path:
    missing = [name for name in ORT_FILES if not (folder / name).is_file()]
    if missing:
        raise HarkenError(
            f"--ort {folder} has no {', '.join(missing)}: give the dist folder of onnxruntime-web {ORT_VERSION}"
        )
    return folder


@contextmanager
def _replacing_folder(folder: Path) -> Iterator[Path]:
    """Yield a new folder beside `folder`. On success it replaces `folder`; on any error it is deleted.

    A folder with anything else in it than an earlier export, such as `.git`, is never replaced. If the disk is full, the
    OSError names `folder`.
    """
    target = folder.resolve()
    if target == Path.cwd():
        raise HarkenError("the current folder cannot be replaced: give the name of a new folder")
    names = {path.name for path in target.iterdir()} if target.is_dir() else set()
    earlier = _ALWAYS_THERE <= names <= _ALWAYS_THERE | _SOMETIMES_THERE
    if target.exists() and not earlier and (names or not target.is_dir()):
        others = sorted(names - _ALWAYS_THERE - _SOMETIMES_THERE)
        what = f"contains {others[0]}" if others else "is not a harken web export"
        raise HarkenError(f"{target} exists and {what}: give a new folder")
    temporary = target.with_name(f".{target.name}-{secrets.token_hex(4)}")
    try:
        temporary.mkdir(parents=True)
    except OSError as error:
        fix = "free some disk space" if error.errno in DISK_FULL else "choose a folder you may write to"
        raise HarkenError(f"cannot write {target}: {error.strerror}; {fix}") from error
    try:
        yield temporary
        # The earlier export is moved aside first: at any time one of the two is whole.
        aside = temporary.with_name(f"{temporary.name}-before")
        if target.exists():
            target.rename(aside)
        try:
            temporary.rename(target)
        except BaseException:
            if aside.exists() and not target.exists():
                aside.rename(target)
            raise
        shutil.rmtree(aside, ignore_errors=True)
    except OSError as error:
        if error.errno in DISK_FULL:  # Python names no file, or the one that was to be copied
            error.filename = str(folder)
        raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
