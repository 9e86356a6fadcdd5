"""Publish a model on the Hugging Face Hub: the model file, and a README.md with its metadata.

push_model   upload a model
model_card   the text of README.md
"""

import json
import re
from pathlib import Path
from typing import Any

from harken.errors import HarkenError
from harken.extras import require_extra
from harken.runtime.hub import MODEL_FILE, first_line, http_status, parse_hub_uri
from harken.runtime.modelfile import Card, bundled_models, find_model, open_model

# Identifiers of the Hub for licenses that a model file may name.
_LICENSES = ("apache-2.0", "mit", "bsd-3-clause", "cc0-1.0", "cc-by-sa-4.0", "cc-by-nc-4.0", "cc-by-4.0", "cc-by-3.0")
_DATASETS = {"speech_commands": "google/speech_commands", "mswc": "MLCommons/ml_spoken_words"}


def push_model(model: str, uri: str, *, license_id: str | None, language: str | None, private: bool) -> str:
    """Upload a model to the Hub, and return the address of the new version.

    The repository is created if it does not exist.

    Parameters
    ----------
    model
        Model file, run folder, or name of a bundled model.
    uri
        hf://OWNER/NAME. A revision is the branch to write to.
    license_id
        Identifier of the license on the Hub, such as `apache-2.0`. Default: what the model file says.
    language
        Code of the language, such as `en`. Default: what the model file says.
    private
        Create the repository as private.

    Raises
    ------
    HarkenError
        If the model cannot be opened, the URI is wrong, or the Hub refuses the upload.
    """
    target = parse_hub_uri(uri)
    require_extra("hub", "huggingface_hub")
    from huggingface_hub import CommitOperationAdd, HfApi, logging
    from huggingface_hub.errors import RevisionNotFoundError

    path = find_model(model)
    _, card = open_model(path, 1)
    name = target.repo.partition("/")[2]
    if "language" not in card.fields and path.parent in {find_model(known).parent for known in bundled_models()}:
        language = language or "en"
    text = model_card(card, name, uri, license_id=license_id, language=language, size=path.stat().st_size)
    logging.set_verbosity_error()  # type: ignore[no-untyped-call] # it warns about each try to connect
    api = HfApi()
    try:
        api.create_repo(target.repo, private=private, exist_ok=True)
        commit = api.create_commit(
            target.repo,
            [
                CommitOperationAdd(MODEL_FILE, path.read_bytes()),
                CommitOperationAdd("README.md", text.encode()),
            ],
            commit_message=f"Add {Path(MODEL_FILE).name}, written by harken",
            revision=target.revision,
        )
    except RevisionNotFoundError as error:
        raise HarkenError(
            f"{uri}: the repository has no branch {target.revision}; create it on the Hub, or leave it out"
        ) from error
    except Exception as error:  # of the Hub, of several HTTP libraries, and of the upload's own threads
        raise _refusal(uri, error) from error
    return str(commit.commit_url)


def model_card(card: Card, name: str, uri: str, *, license_id: str | None, language: str | None, size: int) -> str:
    """Return the text of README.md: metadata in YAML, which the Hub reads, and a description."""
    fields = card.fields
    stated = str(fields.get("license") or fields.get("licence") or "")
    metadata: dict[str, Any] = {
        "library_name": "harken",
        "pipeline_tag": "audio-classification",
        "tags": ["keyword-spotting", "wake-word", "speech-commands", "onnx"],
        # An enrolled phrase states the license of its speech embedding. That of its templates is the user's to choose.
        "license": license_id or ("other" if "enrolled" in fields else _license_id(stated)),
    }
    if metadata["license"] == "other":
        metadata["license_name"] = "see-the-model-card"
    elif license_id:
        stated = license_id
    languages = language or fields.get("language")
    codes = languages if isinstance(languages, list) else [languages]
    if codes := [code for code in codes if code and isinstance(code, str)]:
        metadata["language"] = codes
    corpora = [str(corpus) for corpus in fields.get("corpus") or []] if isinstance(fields.get("corpus"), list) else []
    if datasets := sorted({known for key, known in _DATASETS.items() if any(key in corpus for corpus in corpora)}):
        metadata["datasets"] = datasets
    metadata["labels"] = list(card.labels)
    accuracy = fields.get("validation_accuracy")
    if isinstance(accuracy, int | float):
        metadata["metrics"] = ["accuracy"]
        metadata["model-index"] = [_model_index(name, accuracy, datasets)]
    # JSON is YAML, and needs no care for signs with a meaning in YAML.
    header = "\n".join(f"{key}: {json.dumps(value, ensure_ascii=False)}" for key, value in metadata.items())
    words = ", ".join(f"`{word}`" for word in card.words)
    figures = [f"| file | {size / 1024:,.0f} KB |", f"| sample rate | {card.sample_rate:,} Hz |"]
    figures += [f"| window | {card.window / card.sample_rate:g} s |"]
    if isinstance(fields.get("parameters"), int):
        figures.append(f"| parameters | {fields['parameters']:,} |")
    if isinstance(accuracy, int | float):
        figures.append(f"| accuracy on its validation set | {100 * accuracy:.1f} % |")
    attribution = fields.get("attribution")
    predict = "" if "state" in fields else f"harken predict --model {uri} clip.wav\n"  # streaming files take no clips
    sources = f"\n## Sources\n\n{_plain(attribution)}\n" if attribution else ""
    return f"""---
{header}
---

# {name}

Recognizes {words}. The model is one ONNX file: the waveform goes in, and probabilities come out.

```sh
pip install '.[hub]'  # in a clone of harken
{predict}harken listen --model {uri}
```

| | |
|---|---|
{chr(10).join(figures)}

License: {stated or metadata["license"]}
{sources}"""


def _license_id(stated: str) -> str:
    lowered = re.sub(r"\s+", "-", stated.lower())
    # Whole names only: "permitted" is not MIT, and "mit-0" is another license.
    names = "|".join(map(re.escape, _LICENSES))
    found = re.search(rf"(?<!\w)({names})(?!\w|[-.]\d)", lowered)
    return found[1] if found else "other"


def _model_index(name: str, accuracy: float, datasets: list[str]) -> dict[str, Any]:
    dataset = datasets[0] if datasets else "custom"
    return {
        "name": name,
        "results": [
            {
                "task": {"type": "audio-classification", "name": "Keyword spotting"},
                "dataset": {"type": dataset, "name": f"validation set of the training, from {dataset}"},
                "metrics": [{"type": "accuracy", "value": round(float(accuracy), 4), "name": "Accuracy"}],
            }
        ],
    }


def _plain(value: Any) -> str:
    if isinstance(value, dict):
        return "\n".join(f"- {key}: {entry}" for key, entry in value.items())
    if isinstance(value, list):
        return "\n".join(f"- {_plain(entry) if isinstance(entry, str) else json.dumps(entry)}" for entry in value)
    return str(value)


def _refusal(uri: str, error: Exception) -> HarkenError:
    status = http_status(error) or http_status(error.__cause__)
    if status in (401, 403):
        return HarkenError(f"{uri}: the Hub does not let you write there; run hf auth login")
    if status:
        return HarkenError(f"{uri}: the Hub refused the upload (status {status}); try again later")
    return HarkenError(f"{uri} cannot be uploaded ({first_line(error)}): check the connection and the name")
