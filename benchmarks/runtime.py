"""Measure one clip and one second of a stream on one thread, for harken's models in each format and for alternatives.

python benchmarks/runtime.py --data DIR... --noise DIR [--clips 400] [--models tiny,base,large] [--litert-python PATH]
    [--out benchmarks/runtime.md]

Run it with a Python that has harken[train], on an otherwise idle machine. Each contender runs in a process of its own.
They take turns clip by clip, so that all get the same clips in the same minutes. Recognizers of others get environments of
their own in build/, which are created at the first run. The LiteRT files are written and run by a Python that has
harken[train,litert]: this one, or that of --litert-python.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

import harken
from harken.errors import HarkenError
from harken.export.c import write_c
from harken.export.c.compiled import compile_c
from harken.export.clips import corpus_clips
from harken.export.onnx_int8 import write_onnx_int8
from harken.labels import SILENCE, UNKNOWN
from harken.models.registry import find_network
from harken.runtime.modelfile import STREAM_SUFFIX, ModelFile, bundled_models, find_model
from tutorial import BUILD, HERE, keras_python, machine

PEERS_VENV = BUILD / "runtime-venv"
PEERS = (
    "pocketsphinx==5.1.1", "wakebox==0.1.1", "pymicro-wakeword==2.5.0", "numpy==2.4.6", "onnxruntime==1.27.0"
)  # fmt: skip
CHECKED_CLIPS = 120  # of the calibration clips, to check the exports on
LITERT_MODULES = ("litert_torch", "ai_edge_litert", "ai_edge_quantizer", "torch", "onnx")
WARM_UP = 5
ONE_THREAD = {
    **dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"),
    "TF_NUM_INTRAOP_THREADS": "1",
    "TF_NUM_INTEROP_THREADS": "1",
    "TF_CPP_MIN_LOG_LEVEL": "2",
    "CUDA_VISIBLE_DEVICES": "",
}


@dataclass
class Contender:
    """A recognizer in a process of its own, and its measurements.

    `trained` tells whether its answers are meaningful.
    """

    name: str
    kind: str
    model: str
    python: Path = Path(sys.executable)
    trained: bool = True
    clip_ms: list[float] = field(default_factory=list)
    second_ms: list[float] = field(default_factory=list)
    right: list[bool] = field(default_factory=list)
    memory_mb: float = 0.0

    def start(self, clips: Path) -> None:
        command = [self.python, HERE / "runtime_contenders.py", self.kind, self.model, clips]
        self._process = subprocess.Popen(
            [str(part) for part in command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env={**os.environ, **ONE_THREAD},
        )  # fmt: skip
        self.answers = self._reply()["answers"]

    def request(self, what: str) -> dict[str, Any]:
        assert self._process.stdin is not None
        self._process.stdin.write(what + "\n")
        self._process.stdin.flush()
        return self._reply()

    def _reply(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith("{"):  # Some libraries print other lines.
                reply: dict[str, Any] = json.loads(line)
                return reply
        sys.exit(f"{self.name} ended with exit code {self._process.wait()}")

    def stop(self) -> None:
        self.memory_mb = self.request("memory")["mb"]
        self._process.communicate()


def peers_python() -> Path:
    """Return the Python of the other recognizers' environment. It is created if it is missing or has other versions."""
    python, installed = PEERS_VENV / "bin" / "python", PEERS_VENV / "requirements.txt"
    if not installed.is_file() or installed.read_text() != "\n".join(PEERS):
        print(f"installing {', '.join(PEERS)}", flush=True)
        subprocess.run([sys.executable, "-m", "venv", "--clear", PEERS_VENV], check=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *PEERS], check=True)
        installed.write_text("\n".join(PEERS))
    return python


MISSING_FOR_LITERT = f"""
from importlib.util import find_spec
print(" ".join(name for name in {LITERT_MODULES} if find_spec(name) is None))
"""
WRITE_LITERT = """
import sys
from pathlib import Path
import numpy as np
from harken.export.litert import write_litert
model, path, clips, bits = sys.argv[1:]
arrays = np.load(clips)
write_litert(model, Path(path), arrays["checked"], calibration=arrays["calibration"] if bits == "8" else None)
"""


def litert_python(named: Path | None) -> Path | None:
    """Return a Python that has the extra `litert`: the given one, or this one, or None."""
    python = named or Path(sys.executable)
    try:
        printed = subprocess.run([python, "-c", MISSING_FOR_LITERT], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise HarkenError(
            f"--litert-python {python} cannot be run: give a Python that has harken[train,litert]"
        ) from error
    if missing := printed.stdout.split():
        if named:
            raise HarkenError(
                f"--litert-python {named} lacks {', '.join(missing)}: run pip install 'harken[train,litert]' there"
            )
        return None
    return python


def litert_contenders(model: str, folder: Path, python: Path, calibration: np.ndarray) -> list[Contender]:
    """Export a model to LiteRT with the given Python, and return the contenders that run the files."""
    clips = folder / "litert.npz"
    np.savez(clips, checked=calibration[:CHECKED_CLIPS], calibration=calibration)
    source = str(Path(harken.__file__).parents[1])
    made = []
    for name, bits in (("LiteRT", "32"), ("LiteRT int8", "8")):
        path = folder / f"{bits}.tflite"
        command = [python, "-c", WRITE_LITERT, find_model(model), path, clips, bits]
        written = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": source})
        if written.returncode:
            last = next(iter(reversed(written.stderr.strip().splitlines())), "no reason given")
            raise HarkenError(f"{python} cannot export {model} to {name} ({last}): reinstall its harken[train,litert]")
        made.append(Contender(f"{model}, {name}", "litert", str(path), python))
    return made


def harken_contenders(model: str, folder: Path, calibration: np.ndarray, litert: Path | None) -> list[Contender]:
    """Export a bundled model to all formats, and return the contenders that run them."""
    folder.mkdir()
    checked = calibration[:CHECKED_CLIPS]
    int8 = write_onnx_int8(model, folder / "int8.onnx", checked, calibration=calibration).path
    made = [Contender(f"{model}, ONNX Runtime", "onnx", model), Contender(f"{model}, ONNX int8", "onnx", str(int8))]
    if find_model(model).with_suffix(f"{STREAM_SUFFIX}.onnx").is_file():
        made.append(Contender(f"{model}, onnx-stream", "stream", f"{model}{STREAM_SUFFIX}"))
    labels = list(ModelFile(model).card.labels)
    network = find_network(ModelFile(model).card.fields["recipe"]["network"])
    for name, calibrated in (("C", None), ("C int8", calibration)) if network.causal else ():
        stem = f"{model}_{name.replace(' ', '_').lower()}"
        write_c(model, folder, stem, checked, calibration=calibrated)
        compile_c(folder / f"{stem}.c", folder, classes=len(labels), window=ModelFile(model).card.window)
        (folder / f"{stem}.json").write_text(json.dumps({"labels": labels}))
        made.append(Contender(f"{model}, {name}", "c", str(folder / f"{stem}.so")))
    if litert is not None:
        made += litert_contenders(model, folder, litert, calibration)
    return made


def measure(contenders: list[Contender], truth: list[str | None], clips: Path) -> None:
    """Give each clip to all contenders in turn, alone and as a second of a stream."""
    for contender in contenders:
        contender.start(clips)
    for number in range(-WARM_UP, len(truth)):
        for contender in contenders:
            if contender.answers:
                reply = contender.request(f"clip {max(0, number)}")
                if number >= 0:
                    contender.clip_ms.append(reply["ms"])
                    contender.right.append(reply["word"] == truth[number])
            reply = contender.request(f"second {max(0, number)}")
            if number >= 0:
                contender.second_ms.append(reply["ms"])
    for contender in contenders:
        contender.stop()


def row(contender: Contender) -> str:
    """Return a row of the table in Markdown."""

    def times(values: list[float]) -> str:
        if not values:
            return "- | -"
        return f"{statistics.median(values):.2f} | {float(np.percentile(values, 99)):.2f}"

    right = (
        f"{100 * sum(contender.right) / len(contender.right):.1f} %" if contender.right and contender.trained else "-"
    )
    memory = f"{contender.memory_mb:.{1 if contender.memory_mb < 10 else 0}f}"
    cells = (contender.name, times(contender.clip_ms), times(contender.second_ms), memory, right)
    return f"| {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--data", type=Path, action="append", required=True, help="corpus, whose validation set is used; repeatable"
    )
    parser.add_argument(
        "--noise", type=Path, action="append", default=[], help="folder of noise to cut silence from; repeatable"
    )
    parser.add_argument("--clips", type=int, default=400, help="number of validation clips, of all classes")
    parser.add_argument("--models", default="tiny,base,large", help="bundled models to measure")
    parser.add_argument("--litert-python", type=Path, help="Python that has harken[train,litert]; default: this one")
    parser.add_argument("--out", type=Path, default=HERE / "runtime.md", help="page to write")
    options = parser.parse_args()
    load = os.getloadavg()[0]
    models = options.models.split(",")
    if unknown := set(models) - set(bundled_models()):
        raise HarkenError(f"--models {','.join(sorted(unknown))}: give some of {', '.join(bundled_models())}")
    card = ModelFile(models[0]).card
    if options.out.is_dir() or not options.out.resolve().parent.is_dir():
        raise HarkenError(f"cannot write --out {options.out}: give a file in an existing folder")
    gathered = corpus_clips(card, options.data, noise=options.noise)
    if not 1 <= options.clips <= len(gathered.clips):
        raise HarkenError(f"--clips {options.clips}: the corpus has {len(gathered.clips)} for the check; give fewer")
    litert = litert_python(options.litert_python)
    labels = [card.labels[number] for number in gathered.truth[: options.clips]]
    truth = [None if label in (UNKNOWN, SILENCE) else label for label in labels]
    BUILD.mkdir(exist_ok=True)
    peers, tensorflow = peers_python(), keras_python()
    with tempfile.TemporaryDirectory(dir=BUILD) as temporary:
        folder = Path(temporary)
        samples = np.clip(np.round(gathered.clips[: options.clips] * 32768), -32768, 32767).astype(np.int16)
        np.savez(folder / "clips.npz", clips=samples)
        contenders = [
            contender
            for model in models
            for contender in harken_contenders(model, folder / model, gathered.calibration, litert)
        ]
        contenders += [
            Contender("pocketsphinx with a grammar of the ten words", "pocketsphinx", ",".join(card.words), peers),
            Contender("openWakeWord's front-end and embedding", "openwakeword", "-", peers),
            Contender("microWakeWord, one wake word", "microwakeword", "okay_nabu", peers),
            Contender("Keras `model.predict`, the tutorial's network", "keras", "-", tensorflow, trained=False),
        ]
        measure(contenders, truth, folder / "clips.npz")
    command = f"python benchmarks/runtime.py {' '.join(f'--data {path.name}' for path in options.data)}"
    command += "".join(f" --noise {path.name}" for path in options.noise) + f" --clips {options.clips}"
    command += f" --models {options.models}" + " --litert-python PYTHON" * (options.litert_python is not None)
    lines = [
        "# Time for one clip and for one second of a stream, on one thread",
        "",
        f"- `{command}`",
        f"- {machine()}; load average {load:.1f} before the first clip",
        f"- {len(truth)} validation clips, each given to all contenders in turn. A model that runs repeatedly on the same clip, "
        "as for its card, is faster",
        *[f"- {note}" for note in gathered.notes],
        "",
        "| | clip, ms: median | 99 % | second, ms: median | 99 % | memory, MB | accuracy |",
        "|---|---|---|---|---|---|---|",
        *map(row, contenders),
        "",
        "A second of a stream is ten chunks of 100 ms. harken's models evaluate the last window after each chunk; onnx-stream",
        "and the C code compute only what is new. pocketsphinx decodes each chunk. openWakeWord's embedding is computed every",
        "80 ms; its small classifiers, one per word, are not included. microWakeWord runs the 8-bit network of one wake word",
        "every 30 ms. Keras runs ten times. An answer is right if it is the word, or no word for clips of other words and",
        "noise; the grammar must choose one of its words. Memory is the increase from before the first import to the end. The",
        "C library is called by a Python process that loads nothing else. With so few clips, the accuracy has an interval of",
        "some points. A model without rows for C looks ahead; its onnx-stream file, if it has one, is another network.",
        *(
            []
            if litert
            else ["", "LiteRT has no rows: its extra was not installed (--litert-python gives a Python that has it)."]
        ),
        "",
    ]
    options.out.write_text("\n".join(lines), encoding="utf-8")
    print("\n".join(lines))


if __name__ == "__main__":
    try:
        main()
    except HarkenError as error:
        print(f"runtime.py: {error}", file=sys.stderr)
        sys.exit(2)
