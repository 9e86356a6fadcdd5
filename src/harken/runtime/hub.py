"""Models on the Hugging Face Hub: hf://OWNER/NAME, or hf://OWNER/NAME@REVISION.

is_hub_uri     whether a model is given as hf://...
parse_hub_uri  read the parts of hf://...
fetch_model    download a model file, or find it in the cache
http_status    the status of an error with which the Hub answered
first_line     the first line of an error
"""

import hashlib
import re
import sys
from dataclasses import dataclass
from pathlib import Path

from harken.errors import HarkenError
from harken.extras import require_extra

SCHEME = "hf://"
MODEL_FILE = "model.onnx"
_URI = re.compile(r"hf://(?P<repo>[\w.-]+/[\w.-]+)(?:@(?P<revision>[\w./-]+))?", re.ASCII)


@dataclass(frozen=True)
class HubModel:
    """A repository on the Hub: `OWNER/NAME`, and a branch, tag or commit. None: the default branch."""

    repo: str
    revision: str | None = None


def is_hub_uri(model: object) -> bool:
    """Return whether a model is given as hf://..."""
    return isinstance(model, str) and model.startswith(SCHEME)


def parse_hub_uri(uri: str) -> HubModel:
    """Read hf://OWNER/NAME[@REVISION].

    Raises
    ------
    HarkenError
        If the URI is not of this form.
    """
    found = _URI.fullmatch(uri)
    if not found or ".." in uri or "--" in found["repo"]:
        raise HarkenError(f"{uri} is not a model on the Hub: write it as hf://OWNER/NAME or hf://OWNER/NAME@REVISION")
    return HubModel(found["repo"], found["revision"])


def fetch_model(uri: str) -> Path:
    """Download a model file into the Hub's cache, and return its path.

    A file that is in the cache is used again. Without a connection, the cached file is used as it is. The file's hash is
    checked each time.

    Parameters
    ----------
    uri
        hf://OWNER/NAME[@REVISION]. The repository must contain `model.onnx`, as `harken push` writes it.

    Raises
    ------
    HarkenError
        If the URI is wrong, the model cannot be downloaded, or the file is damaged.
    """
    model = parse_hub_uri(uri)
    require_extra("hub", "huggingface_hub")
    from huggingface_hub import hf_hub_download, logging, try_to_load_from_cache
    from huggingface_hub.errors import (
        EntryNotFoundError,
        GatedRepoError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    logging.set_verbosity_error()  # type: ignore[no-untyped-call] # it warns about each try to connect
    try:
        if sys.stderr.isatty() and not try_to_load_from_cache(model.repo, MODEL_FILE, revision=model.revision):
            # Without a connection, the library tries for half a minute.
            print(f"downloading {uri} from the Hub ...", file=sys.stderr)
        path = Path(hf_hub_download(model.repo, MODEL_FILE, revision=model.revision))
    except GatedRepoError as error:
        raise HarkenError(f"{uri} asks you to accept its terms: do so on its page, and run hf auth login") from error
    except RepositoryNotFoundError as error:
        raise HarkenError(f"{uri} does not exist, or is private: check the name, or run hf auth login") from error
    except RevisionNotFoundError as error:
        raise HarkenError(f"{uri}: the repository has no revision {model.revision}; check its name") from error
    except LocalEntryNotFoundError as error:
        if status := http_status(error.__cause__):  # the Hub was reached, and refused or failed
            raise _refusal(uri, status) from error
        raise HarkenError(f"{uri} is not in the cache, and the Hub cannot be reached: check the connection") from error
    except EntryNotFoundError as error:
        raise HarkenError(f"{uri} contains no {MODEL_FILE}: it is not a model of harken") from error
    except Exception as error:  # the errors of several HTTP libraries, which differ between versions
        if status := http_status(error):
            raise _refusal(uri, status) from error
        raise HarkenError(f"{uri} cannot be downloaded ({first_line(error)}): try again later") from error
    _check_hash(uri, path)
    return path


def _check_hash(uri: str, path: Path) -> None:
    """Compare a cached file with the hash that the Hub stated for it, which is the name of the file in the cache."""
    stated, content = path.resolve().name, path.read_bytes()
    if re.fullmatch(r"[0-9a-f]{64}", stated):
        actual = hashlib.sha256(content).hexdigest()
    elif re.fullmatch(r"[0-9a-f]{40}", stated):  # a small file, with the hash of git
        actual = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
    else:
        return  # a system without links, where the cache keeps the file under its own name
    if actual != stated:
        raise HarkenError(f"{uri}: the cached file {path} is damaged; delete {path.resolve()} and try again")


def http_status(error: BaseException | None) -> int | None:
    """Return the status with which the Hub answered, if that is the error."""
    status = getattr(getattr(error, "response", None), "status_code", None)
    return status if isinstance(status, int) else None


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, or its name if it has none."""
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0].rstrip(".: ")


def _refusal(uri: str, status: int) -> HarkenError:
    if status in (401, 403):
        return HarkenError(f"{uri}: the Hub does not let you read it (status {status}); run hf auth login")
    return HarkenError(f"{uri}: the Hub cannot send it now (status {status}); try again later")
