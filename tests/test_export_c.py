"""Export to C: the answers of the model file, streaming, small size, and no file if it disagrees."""

import ctypes
import json
import math
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from conftest import MakeModel
from harken.errors import HarkenError
from harken.export.c import CompiledModel, CReport, compile_c, write_c
from harken.export.c.compiled import _compiler
from harken.export.c.graph import read_network
from harken.export.c.int8 import calibrate, int8_tables
from harken.export.c.literals import number, string
from harken.export.c.tables import float_tables
from harken.export.onnx_stream import write_stream_file
from harken.models.bc_resnet import BCResNet
from harken.models.onnx_writer import change_metadata, write_model_file
from harken.models.spotter import Spotter
from harken.runtime.listener import Listener
from harken.runtime.listener_settings import ListenerSettings
from harken.runtime.modelfile import ModelFile, find_model
from harken.runtime.streamfile import StreamFile
from harken.tasks.recipe import Recipe, find_recipe
from trained_spotter import RATE, clips, speech_like, train_spotter, words

pytestmark = pytest.mark.skipif(
    not any(map(shutil.which, ("gcc", "cc", "clang"))), reason="there is no C compiler: install gcc"
)

LABELS = ("yes", "no", "up", "down", "left", "right", "on", "off", "stop", "go", "_unknown_", "_silence_")
TEMPERATURE = 0.8


@dataclass
class Exported:
    """A network, its model file, and its C export."""

    spotter: Spotter
    model: Path
    report: CReport
    c: CompiledModel
    window: int


def exported(folder: Path, recipe: Recipe, labels: tuple[str, ...], network: nn.Module | None = None) -> Exported:
    spotter = train_spotter(recipe, network, len(labels))
    model = folder / "model.onnx"
    card = {"labels": labels, "sample_rate": RATE, "window": recipe.samples, "recipe": asdict(recipe)}
    write_model_file(spotter, model, card | {"thresholds": {"yes": 0.5}}, temperature=TEMPERATURE)
    report = write_c(model, folder, "spot", clips(recipe.samples))
    c, _ = compile_c(report.source, folder, classes=len(labels), window=recipe.samples)
    return Exported(spotter, model, report, c, recipe.samples)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    recipe = replace(find_recipe("v12"), network="harken_tiny")
    return exported(tmp_path_factory.mktemp("tiny"), recipe, LABELS)


@pytest.fixture(scope="module")
def strided(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """Return a network with half the frame rate, frames of 2 * 2 * 2 * 4 * 2 * 3 * 3 samples, another window, three classes."""
    recipe = replace(find_recipe("v12"), network="harken_tiny", frame_ms=36.0, window_s=0.655)
    network = BCResNet(3, 40, 62, causal=True, time_stride=2)
    return exported(tmp_path_factory.mktemp("strided"), recipe, ("yes", "no", "_silence_"), network)


@pytest.fixture(params=["tiny", "strided"])
def either(request: pytest.FixtureRequest) -> Iterator[Exported]:
    chosen: Exported = request.getfixturevalue(request.param)
    chosen.c.reset()
    yield chosen
    chosen.c.reset()


def full_history(spotter: Spotter, samples: NDArray[np.int16], window: int) -> tuple[NDArray[np.float32], bool]:
    """Return the probabilities of a stream, and whether it fills a whole window.

    The network runs over the whole stream, and its logits are averaged over the last window.
    """
    network = spotter.network
    assert isinstance(network, BCResNet)
    with torch.no_grad():
        waveform = torch.from_numpy(samples.astype(np.float32) / 32768)[None]
        x = network.norm(spotter.front_end(waveform)).unsqueeze(1)
        x = network.last(network.blocks(torch.relu(network.stem_norm(network.stem(x)))))
        steps = network.classify(torch.relu(network.expand_norm(network.expand(x))))[0, :, 0]
        kept = -(-spotter.front_end.frames(window) // network.stem.stride[1])
        probabilities: NDArray[np.float32] = torch.softmax(steps[:, -kept:].mean(dim=1) / TEMPERATURE, dim=0).numpy()
    return probabilities, steps.shape[1] >= kept


def pcm(samples: int, seed: int = 3) -> NDArray[np.int16]:
    return (32767 * speech_like(samples, seed)).astype(np.int16)


def logits(probabilities: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the logits, up to a constant: they show differences that a confident softmax hides."""
    logs: NDArray[np.float32] = np.log(np.maximum(probabilities, 1e-30))
    return logs


def test_a_clip_has_the_answer_of_the_model_file(either: Exported) -> None:
    wanted = ModelFile(either.model).probabilities(clips(either.window))
    assert np.ptp(wanted, axis=0).min() > 0.05  # The answers depend on the clip.
    found = either.c.run(clips(either.window))
    np.testing.assert_allclose(found, wanted, atol=1e-4)
    np.testing.assert_allclose(logits(found), logits(wanted), atol=1e-2)
    assert either.report.largest_difference < 1e-4
    assert either.report.agreement == 1


def test_a_stream_is_the_network_over_the_whole_history(either: Exported) -> None:
    stream = pcm(int(2.7 * RATE))
    pushed, draws = 0, np.random.default_rng(1)
    last = either.window
    for checkpoint in (2000, last - 1, last, last + 160, last + 321, len(stream)):
        while pushed < checkpoint:
            size = min(int(draws.integers(0, 900)), checkpoint - pushed)
            either.c.push(stream[pushed : pushed + size])
            pushed += size
        (found, whole), (wanted, enough) = either.c.probabilities(), full_history(either.spotter, stream[:pushed], last)
        np.testing.assert_allclose(logits(found), logits(wanted), atol=1e-2)
        assert whole == enough
    alone = either.c.run((stream[-last:] / 32768).astype(np.float32)[None])[0]
    assert np.abs(logits(found) - logits(alone)).max() > 0.1  # The last window alone lacks the history of the stream.


def test_the_size_of_chunks_does_not_matter(either: Exported) -> None:
    stream = pcm(int(1.3 * RATE))
    either.c.push(stream)
    at_once, _ = either.c.probabilities()
    either.c.reset()
    for sample in stream[:3000]:
        either.c.push(np.array([sample]))
    either.c.push(stream[:0])
    for part in np.array_split(stream[3000:], 37):
        either.c.push(part)
    np.testing.assert_array_equal(either.c.probabilities()[0], at_once)


def test_reset_and_run_clear_the_state(either: Exported) -> None:
    clip = pcm(either.window, seed=5)
    either.c.push(clip)
    fresh, _ = either.c.probabilities()
    either.c.push(pcm(int(1.234 * RATE), seed=6))
    either.c.reset()
    either.c.push(clip)
    np.testing.assert_array_equal(either.c.probabilities()[0], fresh)
    as_clip = either.c.run((clip / 32768).astype(np.float32)[None])[0]
    np.testing.assert_array_equal(as_clip, fresh)
    either.c.push(clip)
    np.testing.assert_array_equal(either.c.probabilities()[0], fresh)


def test_before_the_first_frame_all_probabilities_are_zero(either: Exported) -> None:
    either.c.push(pcm(479))
    probabilities, whole = either.c.probabilities()
    assert not whole
    assert not probabilities.any()


def test_nothing_is_allocated(tiny: Exported) -> None:
    if not shutil.which("nm"):
        pytest.skip("there is no nm: install binutils")
    unit = tiny.report.source.with_suffix(".o")
    listing = subprocess.run(["nm", "-u", str(unit)], check=True, capture_output=True, text=True).stdout
    wanted = {line.split()[-1].lstrip("_") for line in listing.splitlines()}
    # Compilers replace loops over memory by calls of the memory functions.
    assert wanted <= {"expf", "logf", "memset", "memcpy", "memmove", "GLOBAL_OFFSET_TABLE_", "stack_chk_fail"}
    assert {"expf", "logf"} <= wanted
    included = {line for line in tiny.report.source.read_text().splitlines() if line.startswith("#include")}
    assert included == {'#include "spot.h"', "#include <math.h>"}


def test_tiny_is_small(tiny: Exported) -> None:
    sizes = tiny.report.sizes
    parameters = sum(weight.numel() for weight in tiny.spotter.network.parameters())
    assert 4 * parameters < sizes.constants < 100_000
    assert 98 * 12 * 4 < sizes.ram < 64_000
    assert 1_000 < sizes.code < 20_000


def test_the_card_is_beside_the_source(tiny: Exported) -> None:
    card = json.loads(tiny.report.card.read_text())
    assert tiny.report.card.name == "spot.c.json"
    assert card["labels"] == list(LABELS)
    assert card["thresholds"] == {"yes": 0.5}
    assert card["recipe"]["network"] == "harken_tiny"
    assert card["export"]["largest_difference"] == tiny.report.largest_difference
    assert card["export"]["sizes"] == asdict(tiny.report.sizes)


def test_8_bits_give_the_same_answers_in_less_memory(tiny: Exported, tmp_path: Path) -> None:
    calibration = np.concatenate([clips(tiny.window, take) for take in range(30, 34)])
    compared = words(tiny.window, *range(40, 44))
    report = write_c(tiny.model, tmp_path, "spot8", compared, calibration=calibration)
    assert report.bits == 8
    assert report.agreement >= 0.97
    assert report.largest_difference < 0.3
    assert report.sizes.constants < 0.7 * tiny.report.sizes.constants
    assert report.sizes.ram < 0.7 * tiny.report.sizes.ram
    c, _ = compile_c(report.source, tmp_path, classes=len(LABELS), window=tiny.window)
    difference = np.abs(c.run(compared) - ModelFile(tiny.model).probabilities(compared))
    assert difference.max(axis=1).mean() < 0.05
    clip = pcm(tiny.window)
    for part in np.array_split(clip, 53):
        c.push(part)
    np.testing.assert_array_equal(c.probabilities()[0], c.run((clip / 32768).astype(np.float32)[None])[0])


def test_8_bit_weights_are_within_half_a_step(tiny: Exported) -> None:
    network = read_network(tiny.model)
    units = calibrate(tiny.model, network, clips(tiny.window))
    whole, rounded = float_tables(network), int8_tables(network, units)
    read = units[network.expand.reads][:, None]
    written = units[network.expanded]
    assert rounded.expand.scale is not None
    assert rounded.expand.values.dtype == np.int8
    assert np.abs(rounded.expand.values).max(axis=0).min() == 127  # each output channel uses the whole range
    found = rounded.expand.values * rounded.expand.scale * written
    step = rounded.expand.scale * written
    assert (np.abs(found - whole.expand.values * read) <= step / 2 * 1.001).all()


def test_an_export_that_disagrees_is_not_written(tiny: Exported, tmp_path: Path) -> None:
    recipe = ModelFile(tiny.model).card.fields["recipe"]
    change_metadata(tiny.model, tmp_path / "wrong.onnx", {"recipe": recipe | {"hop_ms": 12.0}})
    with pytest.raises(HarkenError, match=r"spot\.c was not written: its probabilities differ"):
        write_c(tmp_path / "wrong.onnx", tmp_path / "out", "spot", clips(tiny.window))
    assert not (tmp_path / "out").exists()


def test_frames_with_an_unsupported_length_are_an_error(tiny: Exported, tmp_path: Path) -> None:
    recipe = ModelFile(tiny.model).card.fields["recipe"]
    change_metadata(tiny.model, tmp_path / "odd.onnx", {"recipe": recipe | {"frame_ms": 482 / 16}})
    with pytest.raises(HarkenError, match="does not support frames of 482 samples"):
        write_c(tmp_path / "odd.onnx", tmp_path, "spot", clips(tiny.window))


def test_a_network_that_looks_ahead_is_an_error(tiny: Exported, tmp_path: Path) -> None:
    model = onnx.load(str(tiny.model))
    over_time = next(node for node in model.graph.node if node.op_type == "Conv" and "over_time" in node.input[1])
    pads = next(attribute for attribute in over_time.attribute if attribute.name == "pads")
    pads.ints[:] = [0, 1, 0, 1]
    onnx.save(model, str(tmp_path / "ahead.onnx"))
    with pytest.raises(HarkenError, match="causal BC-ResNet"):
        write_c(tmp_path / "ahead.onnx", tmp_path, "spot", clips(tiny.window))


def test_another_network_is_an_error(make_model: MakeModel, tmp_path: Path) -> None:
    with pytest.raises(HarkenError, match="causal BC-ResNet"):
        write_c(make_model(), tmp_path, "spot", np.zeros((1, 8000), np.float32))


def test_clips_of_another_length_are_an_error(tiny: Exported, tmp_path: Path) -> None:
    short = clips(8000)
    with pytest.raises(HarkenError, match=r"pass \[N, 16000\]"):
        write_c(tiny.model, tmp_path, "spot", short)
    with pytest.raises(HarkenError, match=r"cannot calibrate .* pass \[N, 16000\]"):
        write_c(tiny.model, tmp_path, "spot", clips(tiny.window), calibration=short)
    with pytest.raises(HarkenError, match="no clips"):
        write_c(tiny.model, tmp_path, "spot", clips(tiny.window)[:0])


def test_all_files_or_none(tiny: Exported, tmp_path: Path) -> None:
    (tmp_path / "spot.c.json").mkdir()
    with pytest.raises(HarkenError, match=r"spot.c.json is a folder"):
        write_c(tiny.model, tmp_path, "spot", clips(tiny.window))
    assert [path.name for path in tmp_path.iterdir()] == ["spot.c.json"]


def test_listen_decides_as_the_listener_does(tmp_path: Path) -> None:
    """Compare the code of docs/how-to/microcontroller.md, compiled, with a Listener on the streaming model."""
    recipe, labels = replace(find_recipe("v12"), network="harken_tiny"), ("yes", "no", "up", "_silence_")
    spotter = train_spotter(recipe, None, len(labels))
    settings = ListenerSettings(
        thresholds={"yes": 0.51, "no": 0.62, "up": 0.53}, smoothing_ms=300, refractory_ms=700, gate_db=-math.inf
    )
    card = {"labels": labels, "sample_rate": RATE, "window": recipe.samples, "recipe": asdict(recipe)}
    write_model_file(spotter, tmp_path / "tiny.onnx", card | {"thresholds": {"yes": 0.25}})
    write_stream_file(spotter, tmp_path / "tuned.onnx", card | {"listener": settings.to_json()})
    report = write_c(tmp_path / "tiny.onnx", tmp_path, "tiny", clips(RATE), listener=tmp_path / "tuned.onnx")
    header = report.header.read_text()
    assert "tuned for the streaming model tuned.onnx, which processes streams as this code does" in header
    assert json.loads(report.card.read_text())["listener"] == settings.to_json()
    page = (Path(__file__).parents[1] / "docs" / "how-to" / "microcontroller.md").read_text()
    (tmp_path / "main.c").write_text(page.split("```c\n")[1].split("```")[0])
    program, library = tmp_path / "main", tmp_path / "tiny.so"
    flags = ["-std=c99", "-Wall", "-Wextra", "-Wconversion", "-Werror", "-O2"]
    sources = [str(tmp_path / name) for name in ("main.c", "tiny.c")]
    subprocess.run([*_compiler(), *flags, "-o", str(program), *sources, "-lm"], check=True)
    subprocess.run([*_compiler(), *flags, "-shared", "-fPIC", "-o", str(library), sources[1], "-lm"], check=True)
    functions = ctypes.CDLL(str(library))
    thresholds = (ctypes.c_float * 4).in_dll(functions, "tiny_stream_thresholds")
    assert list(thresholds) == pytest.approx([0.51, 0.62, 0.53, 2.0])
    assert (ctypes.c_float * 4).in_dll(functions, "tiny_thresholds")[0] == 0.25
    quiet = np.zeros(RATE, np.float32)
    alone = [part for take in (70, 71, 72) for word in words(RATE, take)[:3] for part in (word, quiet)]
    in_a_row = np.concatenate([word for take in (73, 74) for word in words(RATE, take)[:3]])
    sound = np.concatenate([quiet, quiet, *alone, in_a_row, quiet])
    # A microphone with an offset and a hum. The levels are measured without them.
    sound = 0.9 * sound + 0.03 + 0.01 * np.sin(2 * np.pi * 50 / RATE * np.arange(sound.size))
    sound = (32767 * sound).astype(np.int16)
    listener = Listener(StreamFile(tmp_path / "tuned.onnx"), source_rate=RATE)
    wanted = listener.push(sound)
    assert len(wanted) >= 5
    # Some words that directly follow others are detected only without isolation.
    assert len(Listener(StreamFile(tmp_path / "tuned.onnx"), source_rate=RATE, isolation=0).push(sound)) > len(wanted)
    found, confidence = [], ctypes.c_float()
    for _ in range(2):
        functions.tiny_reset()
        found.clear()
        for end in range(1600, sound.size + 1, 1600):
            chunk = np.ascontiguousarray(sound[end - 1600 : end])
            label = functions.tiny_listen(chunk.ctypes.data_as(ctypes.c_void_p), ctypes.byref(confidence))
            if label >= 0:
                found.append((labels[label], round(end / RATE, 3), pytest.approx(confidence.value, abs=1e-3)))
        assert [(event.word, round(event.end_s, 3), event.confidence) for event in wanted] == found
    printed = subprocess.run([program], input=sound.tobytes(), capture_output=True, check=True).stdout.decode()
    assert [line.split()[0] for line in printed.splitlines()] == [event.word for event in wanted]


def test_the_header_names_the_origin_of_its_settings(tiny: Exported, tmp_path: Path) -> None:
    assert "harken's defaults, which were not tuned" in tiny.report.header.read_text()
    shutil.copy(find_model("tiny"), tmp_path / "tiny.onnx")
    own = write_c(tmp_path / "tiny.onnx", tmp_path, "own", clips(RATE))
    assert "tuned for tiny.onnx, which evaluates single windows" in own.header.read_text()
    neighbor = tmp_path / "tiny.stream.onnx"
    # The streaming file of another model, and of this one before it was trained again.
    for name, entries in (("base.stream", {}), ("tiny.stream", {"validation_accuracy": 0.5})):
        change_metadata(find_model(name), neighbor, entries)
        again = write_c(tmp_path / "tiny.onnx", tmp_path, "own", clips(RATE))
        assert "single windows" in again.listener_origin
        assert again.listener_origin.endswith("; tiny.stream.onnx has other weights and was not used")
        assert again.listener_origin in again.header.read_text()
        assert json.loads(again.card.read_text())["listener"] == json.loads(own.card.read_text())["listener"]
    for name in ("tiny", "base"):
        bundled = write_c(name, tmp_path, "bundled", clips(RATE))
        streaming = ListenerSettings.from_card(StreamFile(f"{name}.stream").card)
        assert json.loads(bundled.card.read_text())["listener"] == streaming.to_json()
    with pytest.raises(HarkenError, match=r"has other words than .*: give a file of the same model with --listener"):
        write_c("tiny", tmp_path, "other", clips(RATE), listener=_model_of_other_words(tmp_path))


def _model_of_other_words(folder: Path) -> Path:
    change_metadata(find_model("tiny"), folder / "other.onnx", {"labels": [f"word{number}" for number in range(12)]})
    return folder / "other.onnx"


@pytest.mark.parametrize("name", ["math", "stdint", "float", "threads"])
def test_names_of_c_headers_are_an_error(tiny: Exported, tmp_path: Path, name: str) -> None:
    with pytest.raises(HarkenError, match=rf"{name}\.h would hide a header of the C library"):
        write_c(tiny.model, tmp_path, name, clips(tiny.window))


def test_an_open_quotation_mark_in_cc_is_an_error(
    tiny: Exported, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CC", 'gcc "')
    with pytest.raises(HarkenError, match="a quotation mark that is not closed"):
        write_c(tiny.model, tmp_path / "out", "spot", clips(tiny.window))
    assert not (tmp_path / "out").exists()


def test_a_cross_compiler_is_an_error(tiny: Exported, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compiler = tmp_path / "cross-gcc"
    compiler.write_text('#!/bin/sh\nwhile [ "$1" != -o ]; do shift; done\necho other machine > "$2"\n')
    compiler.chmod(0o755)
    monkeypatch.setenv("CC", str(compiler))
    with pytest.raises(HarkenError, match=rf"compiled by {compiler} cannot run on this machine: set CC to a compiler"):
        write_c(tiny.model, tmp_path / "out", "spot", clips(tiny.window))
    assert not (tmp_path / "out").exists()


def test_a_hop_of_less_than_a_sample_is_an_error(tiny: Exported, tmp_path: Path) -> None:
    change_metadata(tiny.model, tmp_path / "hop.onnx", {"listener": {"hop_ms": 0.01}})
    with pytest.raises(HarkenError, match=r"hop_ms=0\.01 .* is less than a sample: tune it again"):
        write_c(tmp_path / "hop.onnx", tmp_path / "out", "spot", clips(tiny.window))


def test_a_confidence_is_at_most_1(tiny: Exported, tmp_path: Path) -> None:
    """With a sharp softmax, silence has a label of probability 1, and 1 / 10 + 1 / 10 ... is above 1 in float32."""
    recipe = ModelFile(tiny.model).card.fields["recipe"]
    card = {"labels": LABELS, "sample_rate": RATE, "window": tiny.window, "recipe": recipe}
    listener = {"hop_ms": 100.0, "smoothing_ms": 1000.0}
    write_model_file(tiny.spotter, tmp_path / "sharp.onnx", {**card, "listener": listener}, temperature=0.02)
    silence = np.zeros((1, tiny.window), np.float32)
    report = write_c(tmp_path / "sharp.onnx", tmp_path, "sharp", silence)
    compile_c(report.source, tmp_path, classes=len(LABELS), window=tiny.window)
    functions, confidence = ctypes.CDLL(str(tmp_path / "sharp.so")), ctypes.c_float()
    hop = (ctypes.c_int16 * 1600)()
    for _ in range(30):
        functions.sharp_listen(hop, ctypes.byref(confidence))
    assert confidence.value == 1


@pytest.mark.parametrize("name", ["", "Spot", "2spot", "spot-on", "spot.c"])
def test_names_that_are_not_c_names_are_an_error(tiny: Exported, tmp_path: Path, name: str) -> None:
    with pytest.raises(HarkenError, match="cannot be a C name"):
        write_c(tiny.model, tmp_path, name, clips(tiny.window))


def test_no_compiler_is_an_error(tiny: Exported, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CC", raising=False)
    with pytest.raises(HarkenError, match="install gcc"):
        write_c(tiny.model, tmp_path / "out", "spot", clips(tiny.window))
    assert not (tmp_path / "out").exists()


def test_literals() -> None:
    assert string('a "b"\\?') == '"a \\042b\\042\\134\\077"'
    assert string("é") == '"\\303\\251"'
    assert (number(1.0), number(0.5), number(1e-20)) == ("1.0f", "0.5f", "1e-20f")
    values = np.random.default_rng(2).standard_normal(100).astype(np.float32)
    assert [np.float32(number(float(value))[:-1]) for value in values] == values.tolist()
