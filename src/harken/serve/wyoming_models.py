"""The wake words of a Wyoming server: those of its models and of the model files in its folders.

WakeWords      the current wake words
WakeWord       a word or phrase of a model, and the name that clients use for it
Selection      the wake words that a client listens for
LoadedModel    an open model, shared by all clients
Thresholds     the values of `--threshold`
"""

import logging
import re
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wyoming.info import Attribution, Info, WakeModel, WakeProgram

from harken import __version__
from harken.errors import HarkenError, reporting_unreadable
from harken.runtime.listener import Listener
from harken.runtime.listener_settings import ListenerSettings
from harken.runtime.modelfile import Card, bundled_models, find_model
from harken.runtime.two_stage import JOIN, StreamModel, TwoStage, open_stream_model, two_stages

MODEL_SUFFIX = ".onnx"
_URL = ""  # the protocol requires one, and the project has no address yet
_BUNDLED_LANGUAGE = "en"
_NEVER = 1.0  # threshold of words that a client did not select

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Thresholds:
    """Minimum confidences that replace those of the model files.

    Attributes
    ----------
    of_all
        Threshold of every word. None: the model's own.
    by_name
        Threshold of single wake words, by the key of their names or words. It takes precedence over `of_all`.
    """

    of_all: float | None
    by_name: Mapping[str, float]

    @classmethod
    def read(cls, given: Sequence[str]) -> "Thresholds":
        """Read the values of `--threshold`, each a number or `NAME=NUMBER`.

        Raises
        ------
        HarkenError
            If a value is not of this form or out of range.
        """
        of_all: float | None = None
        by_name: dict[str, float] = {}
        for text in given:
            name, equals, number = text.rpartition("=")
            try:
                value = float(number)
            except ValueError as error:
                raise HarkenError(
                    f"--threshold {text}: write it as a number, or as NAME=NUMBER, for example stop=0.9"
                ) from error
            if not 0 <= value <= 1:
                raise HarkenError(f"--threshold {text}: the number must be from 0 to 1")
            if equals:
                by_name[_key(name)] = value
            else:
                of_all = value
        return cls(of_all, by_name)

    def of(self, names: Mapping[str, str]) -> dict[str, float]:
        """Return the thresholds for words of a model, given the name of each. Words without a threshold are left out."""
        found = {}
        for word, name in names.items():
            value = self.by_name.get(_key(name), self.by_name.get(_key(word), self.of_all))
            if value is not None:
                found[word] = value
        return found


@dataclass(frozen=True, eq=False)
class LoadedModel:
    """An open model file.

    Attributes
    ----------
    name
        Name of the bundled model, of the file without its suffix, or of the run's folder. Two names joined by `+` for two
        models.
    path
        Path of the file.
    recognizer
        The opened model. Its network is shared by all clients.
    bundled
        Whether the model is bundled with harken.
    """

    name: str
    path: Path
    recognizer: StreamModel
    bundled: bool

    @property
    def card(self) -> Card:
        """Metadata of the model."""
        return self.recognizer.card

    def listener(self, source_rate: int, refractory_s: float, thresholds: Mapping[str, float]) -> Listener:
        """Return a listener for a new stream. It detects only the words in `thresholds`."""
        return Listener(
            self.recognizer,
            source_rate=source_rate,
            refractory_ms=1000 * refractory_s,
            thresholds={word: thresholds.get(word, _NEVER) for word in self.card.words},
        )


@dataclass(frozen=True)
class WakeWord:
    """A word or phrase that can be detected.

    Attributes
    ----------
    name
        The name that clients use. Spaces are written as `_`.
    word
        The word in the model's labels.
    model
        Its model.
    """

    name: str
    word: str
    model: LoadedModel

    @property
    def phrase(self) -> str:
        """The text to say."""
        return self.word.replace("_", " ").strip()


@dataclass(frozen=True)
class Selection:
    """The wake words that a client listens for.

    Attributes
    ----------
    answers
        For each model, the selected words and the name to report for each.
    unknown
        Requested names that do not exist.
    """

    answers: Mapping[LoadedModel, Mapping[str, str]]
    unknown: tuple[str, ...]


class WakeWords:
    """The wake words of the given models and of the files that are currently in the folders.

    All methods may be called from several threads.

    Parameters
    ----------
    models
        Model files, run folders, or names of bundled models. Two of them joined by `+` are a `TwoStage`.
    folders
        Folders of model files. `refresh` reads them again.
    thresholds
        The values of `--threshold`.
    refractory_s
        Minimum time between two detections, in seconds.
    sensitivity
        0 to 1, as in `Recognizer`. Default: the thresholds of the model files.

    Raises
    ------
    HarkenError
        If one of `models` cannot be opened, a folder does not exist, or a threshold is for an unknown word.
    """

    def __init__(
        self,
        models: Sequence[str],
        folders: Sequence[Path] = (),
        *,
        thresholds: Thresholds | None = None,
        refractory_s: float = 2.0,
        sensitivity: float | None = None,
    ) -> None:
        self.refractory_s = refractory_s
        self._sensitivity = sensitivity
        self._thresholds = thresholds or Thresholds(None, {})
        self._lock = threading.Lock()
        self._words: tuple[WakeWord, ...] = ()
        for folder in folders:
            with reporting_unreadable(f"--custom-model-dir {folder}"):
                if not folder.is_dir():
                    raise HarkenError(f"--custom-model-dir {folder} is not a folder: create it, or give another one")
        self._folders = tuple(folders)
        given = dict.fromkeys(tuple(map(find_model, two_stages(model) or (model,))) for model in models)
        self._given = tuple(self._open(*paths, name=JOIN.join(map(_name_of, paths))) for paths in given)
        self._opened_files: dict[
            Path, tuple[object, LoadedModel | None]
        ] = {}  # path -> stamp of the file, and its model
        words = self.refresh()
        known = {_key(name) for word in words for name in (word.name, word.word)}
        names = ", ".join(word.name for word in words)
        for name in self._thresholds.by_name:
            if name not in known and not folders:
                raise HarkenError(f"--threshold {name}=...: no model has this word; there are {names}")
            if name not in known:  # a file with this word could still be put into a folder
                logger.warning("--threshold %s=...: no model has this word yet; there are %s", name, names or "none")
        if not words:
            where = " or ".join(str(folder) for folder in folders)
            logger.warning("there is no wake word yet: put a model file (%s) into %s", MODEL_SUFFIX, where)

    @property
    def words(self) -> tuple[WakeWord, ...]:
        """The wake words found at the last `refresh`."""
        return self._words

    def refresh(self) -> tuple[WakeWord, ...]:
        """Read the folders again: open new and changed files, and drop deleted ones."""
        with self._lock:
            paths = [path for folder in self._folders for path in _files_in(folder)]
            for path in [path for path in self._opened_files if path not in paths]:
                logger.info("%s is gone", path)
                del self._opened_files[path]
            for path in paths:
                stamp = _stamp(path)
                if path not in self._opened_files or self._opened_files[path][0] != stamp:
                    self._opened_files[path] = (stamp, self._try_to_open(path))
            from_folders = [model for _, model in self._opened_files.values() if model is not None]
            self._words = tuple(_name_words([*self._given, *from_folders]))
            return self._words

    def select(self, names: Sequence[str] | None) -> Selection:
        """Return the wake words for the names that a client requests.

        A name is that of a wake word or of a model. A model stands for all its words. Case, spaces and `_` make no
        difference. Detections are reported under the requested name.

        Parameters
        ----------
        names
            The names. None or empty: all wake words.
        """
        words = self.refresh()
        answers: dict[LoadedModel, dict[str, str]] = {}
        unknown: list[str] = []
        for name in names or ():
            found = [entry for entry in words if _key(entry.name) == _key(name)]
            found = found or [entry for entry in words if _key(entry.model.name) == _key(name)]
            for entry in found:
                answers.setdefault(entry.model, {}).setdefault(entry.word, name)
            if not found:
                unknown.append(name)
        if not names:
            for entry in words:
                answers.setdefault(entry.model, {})[entry.word] = entry.name
        return Selection(answers, tuple(unknown))

    def listener(self, model: LoadedModel, words: Iterable[str], source_rate: int) -> Listener:
        """Return a listener for a new stream that detects some words of a model."""
        own = ListenerSettings.from_card(model.card).thresholds
        thresholds = {word: own[word] for word in words}
        names = {entry.word: entry.name for entry in self._words if entry.model is model}
        replaced = self._thresholds.of({word: names.get(word, word) for word in thresholds})
        return model.listener(source_rate, self.refractory_s, thresholds | replaced)

    def info(self) -> Info:
        """Return the description of the server. Home Assistant reads only the first program."""
        words = self.refresh()
        return Info(
            wake=[
                WakeProgram(
                    name="harken",
                    description="Wake words and spoken commands",
                    attribution=Attribution("harken", _URL),
                    installed=True,
                    version=__version__,
                    models=[
                        WakeModel(
                            name=word.name,
                            description=word.name.replace("_", " "),
                            phrase=word.phrase,
                            languages=_languages(word.model),
                            attribution=Attribution(*_attribution(word.model.card.fields)),
                            installed=True,
                            version=str(word.model.card.fields.get("version") or __version__),
                        )
                        for word in words
                    ],
                )
            ]
        )

    def _open(self, *paths: Path, name: str) -> LoadedModel:
        path = paths[-1]
        recognizer = (
            TwoStage(*paths, sensitivity=self._sensitivity)
            if len(paths) > 1
            else open_stream_model(path, sensitivity=self._sensitivity)
        )
        bundled = all(part.partition(".")[0] in bundled_models() for part in name.split(JOIN))
        model = LoadedModel(name, path, recognizer, bundled)
        # This reports invalid settings in the file now, and not when the first client connects.
        self.listener(model, model.card.words, model.card.sample_rate)
        logger.info("%s: %s", JOIN.join(map(str, paths)), ", ".join(model.card.words))
        return model

    def _try_to_open(self, path: Path) -> LoadedModel | None:
        try:
            return self._open(path, name=path.stem)
        except HarkenError as error:
            logger.warning("left out: %s", error)
            return None


def _name_of(path: Path) -> str:
    return path.parent.name if path.stem == "model" and path.parent.name else path.stem


def _files_in(folder: Path) -> list[Path]:
    try:
        return sorted(
            path for path in folder.iterdir() if path.suffix.lower() == MODEL_SUFFIX and not path.name.startswith(".")
        )
    except OSError as error:
        logger.warning("cannot look into %s: %s", folder, error.strerror)
        return []


def _stamp(path: Path) -> object:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino


def _name_words(models: Iterable[LoadedModel]) -> Iterable[WakeWord]:
    """Yield each word of the models with its name. If several models have a word, the model's name is appended."""
    taken: set[str] = set()
    for model in models:
        for word in model.card.words:
            name = re.sub(r"\s+", "_", word.strip())
            if _key(name) in taken:
                name = f"{name}_{model.name}"
            if _key(name) in taken:
                logger.debug("%s of %s is left out: another model has the same name", word, model.path)
                continue
            taken.add(_key(name))
            yield WakeWord(name, word, model)


def _key(name: str) -> str:
    return " ".join(name.casefold().replace("_", " ").split())


def _languages(model: LoadedModel) -> list[str]:
    given = model.card.fields.get("languages") or model.card.fields.get("language")
    if isinstance(given, str):
        return [given]
    if isinstance(given, list):
        return [str(language) for language in given]
    return [_BUNDLED_LANGUAGE] if model.bundled else []


def _attribution(fields: Mapping[str, Any]) -> tuple[str, str]:
    author, url = fields.get("author"), fields.get("url")
    return str(author) if author else "harken", str(url) if url else _URL
