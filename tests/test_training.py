import json
import os
import pickle
import re
import runpy
import shutil
import signal
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from lightning.pytorch.callbacks.progress import rich_progress
from lightning.pytorch.callbacks.progress.rich_progress import CustomProgress
from rich.progress import TaskID
from torch import Tensor

from conftest import Run, tone
from harken.errors import HarkenError
from harken.labels import SILENCE
from harken.models.spotter import Spotter
from harken.runtime.modelfile import ModelFile
from harken.runtime.recognizer import Recognizer
from harken.tasks.history import COLUMNS, read_history
from harken.tasks.protocol import Material, make_task, side_waveforms
from harken.tasks.recipe import Recipe
from harken.training import run as run_module
from harken.training.initial_weights import initialize_weights
from harken.training.run import TrainingBatches, TrainingResult, resume, train
from harken.training.run_folder import expect_run, load_checkpoint, load_spotter, lock_run, read_run
from harken.training.waveforms import WaveformLoader
from tiny_training import (
    EPOCHS,
    PLAIN,
    RATE,
    WORDS,
    history,
    not_finished,
    recipe,
    tiny_networks,
    weights,
    write_material,
)


@pytest.fixture(scope="module", autouse=True)
def _networks() -> Iterator[None]:
    with tiny_networks():
        yield


@pytest.fixture(scope="module")
def material(tmp_path_factory: pytest.TempPathFactory) -> Material:
    return write_material(tmp_path_factory.mktemp("corpus"))


@pytest.fixture(scope="module")
def finished_run(material: Material, tmp_path_factory: pytest.TempPathFactory) -> tuple[TrainingResult, Path]:
    out = tmp_path_factory.mktemp("runs") / "finished_run"
    return train(recipe(), material, out), out


def assert_same_weights(first: Path, second: Path, name: str = "last.ckpt") -> None:
    torch.testing.assert_close(weights(first, name), weights(second, name), rtol=0, atol=0)


# A run from start to end.


def test_a_run_writes_its_files_and_no_others(finished_run: tuple[TrainingResult, Path], material: Material) -> None:
    trained, out = finished_run
    names = {"recipe.json", "material.json", "history.csv", "last.ckpt", "best.ckpt", "model.onnx"}
    assert {path.name for path in out.iterdir()} == names
    assert trained.model == out / "model.onnx"
    assert trained.epochs == EPOCHS
    assert trained.counts == {"train": 96, "validation": 24, "test": 0}
    assert read_run(out) == (recipe(), material)


def test_the_model_file_recognizes_the_words(finished_run: tuple[TrainingResult, Path]) -> None:
    trained, out = finished_run
    assert trained.accuracy > 0.9
    recognizer = Recognizer(out)
    assert recognizer.labels == (*sorted(WORDS), SILENCE)
    for word, hz in WORDS.items():
        prediction = recognizer.predict(tone(hz, 0.2, RATE), source_rate=RATE)
        assert prediction.label == word
    white = 0.1 * np.random.default_rng(9).standard_normal(800).astype(np.float32)
    assert recognizer.predict(white, source_rate=RATE).reason == "silence"
    fields = recognizer.card.fields
    assert fields["validation_accuracy"] == round(trained.accuracy, 5)
    assert fields["clips"] == trained.counts
    assert Recipe.from_json(fields["recipe"]) == recipe()


def test_history_has_one_row_for_each_epoch(finished_run: tuple[TrainingResult, Path]) -> None:
    rows = read_history(finished_run[1] / "history.csv")
    assert [tuple(row) for row in rows] == [COLUMNS] * EPOCHS
    assert [row["epoch"] for row in rows] == list(range(EPOCHS))
    assert rows[-1]["train_loss"] < rows[0]["train_loss"]
    assert max(row["validation_accuracy"] for row in rows) == pytest.approx(finished_run[0].accuracy, abs=1e-5)
    assert rows[-1]["learning_rate"] < 1e-6  # the end of the half cosine
    assert read_history(finished_run[1] / "none.csv") == []


def test_the_best_and_the_last_epoch_are_kept(finished_run: tuple[TrainingResult, Path]) -> None:
    rows = read_history(finished_run[1] / "history.csv")
    accuracies = [row["validation_accuracy"] for row in rows]
    kept = {name: torch.load(finished_run[1] / name, weights_only=True)["epoch"] for name in ("best.ckpt", "last.ckpt")}
    assert kept == {"best.ckpt": int(np.argmax(accuracies)), "last.ckpt": EPOCHS - 1}


def test_a_terminal_shows_the_search_for_hard_negatives(
    material: Material, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    talk = tmp_path / "talk"
    talk.mkdir()
    for speaker in range(6):  # some are kept for measuring
        soundfile.write(talk / f"{speaker}-1.wav", 0.1 * np.random.default_rng(0).standard_normal(40 * RATE), RATE)
    bars: list[tuple[str, float | None]] = []
    counted: list[str] = []

    class Bars(CustomProgress):
        def add_task(self, description: str, *args: Any, **options: Any) -> TaskID:
            bars.append((description, options["total"]))
            return super().add_task(description, *args, **options)

        def advance(self, task_id: TaskID, advance: float = 1) -> None:
            counted.append(self.tasks[task_id].description)
            super().advance(task_id, advance)

    monkeypatch.setattr(run_module, "Console", lambda **_: SimpleNamespace(is_terminal=True))
    monkeypatch.setattr(rich_progress, "CustomProgress", Bars)
    wanted = recipe("epochs=2", "hard_share=0.5", "unknown_share=0.5", "speech_share=1")
    train(wanted, replace(material, speech=(talk,)), tmp_path / "run")
    searches = [(what, total) for what, total in bars if what.startswith("searching")]
    assert len(searches) == 2
    assert counted == [what for what, total in searches for _ in range(int(total or 0))]
    assert counted


# Resuming a run.


def test_a_run_resumed_between_epochs_equals_an_uninterrupted_one(
    finished_run: tuple[TrainingResult, Path], material: Material, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_module, "finish", not_finished)
    draw = TrainingBatches.train_dataloader
    handler = signal.getsignal(signal.SIGINT)

    def ctrl_c_before_the_third(batches: TrainingBatches) -> Any:
        assert batches.trainer is not None
        if batches.trainer.current_epoch == 2:
            raise KeyboardInterrupt
        return draw(batches)

    with monkeypatch.context() as patch:
        patch.setattr(TrainingBatches, "train_dataloader", ctrl_c_before_the_third)
        with pytest.raises(KeyboardInterrupt):
            train(recipe(), material, tmp_path / "run")
    assert signal.getsignal(signal.SIGINT) is handler
    assert len(history(tmp_path / "run")) == 2
    assert resume(tmp_path / "run").epochs == EPOCHS
    assert_same_weights(tmp_path / "run", finished_run[1])
    assert_same_weights(tmp_path / "run", finished_run[1], "best.ckpt")
    assert history(tmp_path / "run") == history(finished_run[1])


def test_a_run_is_not_resumed_on_other_clips(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_module, "finish", not_finished)
    data, out = tmp_path / "data", tmp_path / "run"
    train(recipe(*PLAIN, "epochs=1"), write_material(data), out)
    weights_before = (out / "last.ckpt").read_bytes()
    clip = data / "low" / "speaker0" / "0.wav"
    (data / "low").rename(data / "zero")  # as many classes as before, in another order
    with pytest.raises(
        HarkenError, match=rf"^{data} gives the classes high, middle, zero, .*{out} began with high, low, m"
    ):
        resume(out)
    (data / "zero").rename(data / "low")
    (data / "new").mkdir()
    shutil.copy(clip, data / "new")
    with pytest.raises(HarkenError, match=rf"^{data} gives the classes high, low, middle, new"):
        resume(out)
    shutil.rmtree(data / "new")
    clip.rename(tmp_path / "kept.wav")
    with pytest.raises(HarkenError, match=rf"^the clips of {data} are not those that {out} began with: restore them"):
        resume(out)
    assert (out / "last.ckpt").read_bytes() == weights_before
    (tmp_path / "kept.wav").rename(clip)
    assert resume(out).epochs == 1


@pytest.mark.parametrize("calls", [3, 17])  # an epoch has 8 steps: before the first checkpoint, and after two
def test_a_run_resumed_after_a_kill_equals_an_uninterrupted_one(
    finished_run: tuple[TrainingResult, Path],
    material: Material,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    calls: int,
) -> None:
    monkeypatch.setattr(run_module, "finish", not_finished)
    load = WaveformLoader.load_augmented
    waveforms = 0

    def killed(loader: WaveformLoader, rows: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        nonlocal waveforms
        waveforms += 1
        if waveforms > calls:
            raise RuntimeError("killed")
        return load(loader, rows, labels)

    with monkeypatch.context() as patch:
        patch.setattr(WaveformLoader, "load_augmented", killed)
        with pytest.raises(RuntimeError, match="killed"):
            train(recipe(), material, tmp_path / "run")
    assert (tmp_path / "run" / "last.ckpt").is_file() == (calls > 8)
    resume(tmp_path / "run")
    assert_same_weights(tmp_path / "run", finished_run[1])
    assert history(tmp_path / "run") == history(finished_run[1])


def test_resuming_a_finished_run_changes_nothing(
    finished_run: tuple[TrainingResult, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_module, "finish", not_finished)
    _, out = finished_run
    before, rows = weights(out), history(out)
    assert resume(out).epochs == EPOCHS
    torch.testing.assert_close(weights(out), before, rtol=0, atol=0)
    assert history(out) == rows


def test_early_stopping_also_holds_after_a_resume(
    material: Material, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_module, "finish", not_finished)
    impatient = recipe("patience=2", "min_delta=100", "epochs=30")
    assert train(impatient, material, tmp_path / "run").epochs == 3  # two epochs without improvement after the first
    before = weights(tmp_path / "run")
    assert resume(tmp_path / "run").epochs == 3
    torch.testing.assert_close(weights(tmp_path / "run"), before, rtol=0, atol=0)
    assert len(history(tmp_path / "run")) == 3


def test_an_interrupted_checkpoint_leaves_the_old_one(tmp_path: Path) -> None:
    class Unwritable:
        def __reduce__(self) -> tuple[Callable[..., object], tuple[()]]:
            raise RuntimeError("halfway")

    path = tmp_path / "last.ckpt"
    checkpoints = run_module._Checkpoints()
    checkpoints.save_checkpoint({"state_dict": {"a": torch.ones(3)}}, path)
    with pytest.raises(RuntimeError, match="halfway"):
        checkpoints.save_checkpoint({"a": torch.zeros(3), "b": Unwritable()}, path)
    assert torch.equal(checkpoints.load_checkpoint(path)["state_dict"]["a"], torch.ones(3))
    assert [entry.name for entry in tmp_path.iterdir()] == ["last.ckpt"]


# Failures in the middle.


def test_a_loss_that_is_not_finite_stops_the_run_before_it_is_saved(material: Material, tmp_path: Path) -> None:
    with pytest.raises(
        HarkenError, match=r"diverged: the train loss is (nan|inf) after epoch 0;.*--set learning_rate=1e\+29"
    ):
        train(recipe("learning_rate=1e30", "warmup_epochs=0"), material, tmp_path / "run")
    assert {path.name for path in (tmp_path / "run").iterdir()} == {"recipe.json", "material.json"}


def test_a_full_disk_is_one_line_and_the_run_can_be_resumed(
    finished_run: tuple[TrainingResult, Path], tmp_path: Path, run: Run
) -> None:
    resource = pytest.importorskip("resource")
    shutil.copytree(finished_run[1], out := tmp_path / "run")
    kept = load_checkpoint(out / "last.ckpt")
    (out / "recipe.json").write_text(json.dumps(asdict(recipe("epochs=9"))))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (5_000, limits[1]))
    try:
        code, _, err = run("train", "--resume", out)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, ignored)
    assert code == 2
    assert err == f"harken: cannot write {out / 'best.ckpt'}: File too large; free some disk space\n" or (
        err == f"harken: cannot write {out / 'last.ckpt'}: File too large; free some disk space\n"
    )
    assert load_checkpoint(out / "last.ckpt")["epoch"] == kept["epoch"]


def test_two_trainings_cannot_have_the_same_folder(material: Material, tmp_path: Path) -> None:
    out = tmp_path / "run"
    with lock_run(out), pytest.raises(HarkenError, match="run is being trained by another process: wait for it"):
        train(recipe(), material, out)
    assert not list(out.iterdir())


def test_a_run_that_another_process_began_in_the_meantime_is_not_overwritten(
    finished_run: tuple[TrainingResult, Path], material: Material, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "run"

    def read_slowly(*given: Any, **settings: Any) -> Any:
        shutil.copytree(finished_run[1], out)
        return make_task(*given, **settings)

    monkeypatch.setattr(run_module, "make_task", read_slowly)
    with pytest.raises(HarkenError, match="already contains a run: continue it with --resume"):
        train(recipe("epochs=9"), material, out)
    assert read_run(out)[0] == recipe()


def test_ctrl_c_says_how_to_continue(
    finished_run: tuple[TrainingResult, Path], tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(TrainingBatches, "train_dataloader", interrupted)
    shutil.copytree(finished_run[1], out := tmp_path / "a run")
    (out / "recipe.json").write_text(json.dumps(asdict(recipe("epochs=9"))))
    code, _, err = run("train", "--resume", out)
    assert (code, err) == (130, f"harken: interrupted; to continue, run harken train --resume '{out}'\n")


# Refused runs.


def test_a_folder_with_a_run_is_not_overwritten(finished_run: tuple[TrainingResult, Path], material: Material) -> None:
    before = {path: path.stat().st_mtime_ns for path in finished_run[1].iterdir()}
    with pytest.raises(HarkenError, match="already contains a run: continue it with --resume"):
        train(recipe(), material, finished_run[1])
    assert {path: path.stat().st_mtime_ns for path in finished_run[1].iterdir()} == before


def test_a_folder_with_the_checkpoint_of_a_run_is_not_trained_on(
    finished_run: tuple[TrainingResult, Path], material: Material, tmp_path: Path
) -> None:
    shutil.copy(finished_run[1] / "last.ckpt", tmp_path)
    with pytest.raises(
        HarkenError, match=r"contains the checkpoint of a run, last\.ckpt: delete it, or choose another"
    ):
        train(recipe(), material, tmp_path)


def test_a_run_with_another_recipe_or_other_folders_is_refused(
    finished_run: tuple[TrainingResult, Path], material: Material
) -> None:
    expect_run(finished_run[1], recipe(), material)
    for other in ((recipe("epochs=5"), material), (recipe(), Material(data=(Path("elsewhere"),)))):
        with pytest.raises(HarkenError, match="a run with another recipe or other folders"):
            expect_run(finished_run[1], *other)


def test_a_run_cannot_have_the_name_of_a_bundled_model(
    material: Material, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(HarkenError, match="base is the name of a bundled model"):
        train(recipe(), material, Path("base"))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("settings", "devices", "message"),
    [
        (["network=bc_resnet_1", "bands=30"], 1, "multiple of 40 mel bands"),
        (["window_s=0.02"], 1, r"window_s=0\.02 is shorter than a frame of 30\.0 ms"),
        (["batch_size=15"], 2, "batch_size=15 must be a multiple of 2, the number of processes"),
        ([], 0, "devices=0"),
        (["teacher=nowhere"], 1, "nowhere is neither a run nor a model file"),
    ],
)
def test_a_refused_run_creates_no_folder(
    material: Material, tmp_path: Path, settings: list[str], devices: int, message: str
) -> None:
    with pytest.raises(HarkenError, match=message):
        train(recipe(*settings), material, tmp_path / "run", devices=devices)
    assert not (tmp_path / "run").exists()


def test_folders_without_a_run_are_refused(tmp_path: Path) -> None:
    with pytest.raises(HarkenError, match="contains no readable run"):
        resume(tmp_path)
    (tmp_path / "recipe.json").write_text(json.dumps(asdict(recipe())))
    for broken in ("[]", "{", '{"folders": []}'):
        (tmp_path / "material.json").write_text(broken)
        with pytest.raises(HarkenError, match="contains no readable run"):
            resume(tmp_path)
    (tmp_path / "material.json").write_text('{"data": ["x"]}')
    with pytest.raises(HarkenError, match="contains no finished epoch"):
        load_spotter(tmp_path, 4)
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(HarkenError, match="is a file: choose a folder for the run"):
        train(recipe(), Material(data=(tmp_path,)), file)


# Starting from earlier runs.


def test_a_run_starts_from_the_weights_of_another(
    finished_run: tuple[TrainingResult, Path], material: Material, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_module, "finish", not_finished)
    train(recipe(f"start_from={finished_run[1]}", "epochs=1", "learning_rate=1e-9"), material, tmp_path / "run")
    (first,) = read_history(tmp_path / "run" / "history.csv")
    assert first["validation_accuracy"] == max(
        row["validation_accuracy"] for row in read_history(finished_run[1] / "history.csv")
    )
    assert read_run(tmp_path / "run")[0].start_from == str(finished_run[1])
    # After the first epoch, the other run is no longer needed.
    gone = json.loads((tmp_path / "run" / "recipe.json").read_text()) | {"start_from": str(tmp_path / "gone")}
    (tmp_path / "run" / "recipe.json").write_text(json.dumps(gone))
    assert resume(tmp_path / "run").epochs == 1
    with pytest.raises(HarkenError, match="from a run of the same network"):
        train(recipe(f"start_from={finished_run[1]}", "network=ds_cnn_s"), material, tmp_path / "other")


def test_outputs_of_an_earlier_run_follow_their_words(
    finished_run: tuple[TrainingResult, Path], material: Material, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_module, "finish", not_finished)
    backwards = ",".join(reversed(WORDS))
    few = ["silence_share=0", "epochs=1", "learning_rate=1e-9", f"words={backwards}", f"start_from={finished_run[1]}"]
    train(recipe(*few), material, tmp_path / "run")
    (first,) = read_history(tmp_path / "run" / "history.csv")
    assert first["validation_accuracy"] > 0.9


def test_a_new_word_starts_untrained(
    finished_run: tuple[TrainingResult, Path], material: Material, tmp_path: Path
) -> None:
    known = list(WORDS)[1:]
    for word in known:
        (tmp_path / word).symlink_to(material.data[0] / word)
    (tmp_path / "abroad").symlink_to(material.data[0] / next(iter(WORDS)))
    wanted = recipe(f"start_from={finished_run[1]}")
    task = make_task(wanted, replace(material, data=(tmp_path,), noise=material.data))
    fresh = Spotter(wanted, len(task.labels))
    before = {name: value.clone() for name, value in fresh.state_dict().items()}
    initialize_weights(fresh, wanted.start_from, wanted, task)
    source = load_spotter(finished_run[1], len(WORDS) + 1)
    waveforms = torch.from_numpy(side_waveforms(task, wanted, "validation")[0])
    ours, theirs = fresh.eval()(waveforms), source(waveforms)
    labels = ModelFile(finished_run[0].model).card.labels
    for column, label in enumerate(task.labels):
        same = label in labels and torch.allclose(ours[:, column], theirs[:, labels.index(label)], atol=1e-5)
        assert same == (label != "abroad")
    answers = fresh.network.layers[-1].weight[task.labels.index("abroad")]
    assert not torch.equal(answers, before["network.layers.4.weight"][task.labels.index("abroad")])
    assert 0 < answers.std() < 1


def test_a_teacher_with_other_classes_or_another_window_is_refused(
    finished_run: tuple[TrainingResult, Path], material: Material, tmp_path: Path
) -> None:
    window = f"a sample rate of {RATE} Hz and a window of 800 samples, but this recipe has {RATE} Hz and 400 samples"
    for other, message in (("silence_share=0", "other classes than this run"), ("window_s=0.1", window)):
        with pytest.raises(HarkenError, match=f" has {message}: use a "):
            train(recipe(f"teacher={finished_run[1]}", other), material, tmp_path / "run")


@pytest.mark.parametrize("window_s", [0.1, 0.3])
def test_a_run_starts_from_weights_of_another_window(
    finished_run: tuple[TrainingResult, Path], material: Material, tmp_path: Path, window_s: float
) -> None:
    wanted = recipe(f"start_from={finished_run[1]}", f"window_s={window_s}")
    task = make_task(wanted, material)
    fresh = Spotter(wanted, len(task.labels))
    initialize_weights(fresh, wanted.start_from, wanted, task)
    learned = load_spotter(finished_run[1], len(task.labels))
    torch.testing.assert_close(fresh.network.state_dict(), learned.network.state_dict())
    model = finished_run[0].model
    fresh = Spotter(wanted, len(task.labels))
    initialize_weights(fresh, str(model), wanted, task)
    silence = torch.zeros(1, wanted.samples)
    assert fresh.eval()(silence).isfinite().all()


def test_starting_from_another_sample_rate_is_refused_with_a_fix(
    finished_run: tuple[TrainingResult, Path], material: Material, tmp_path: Path
) -> None:
    with pytest.raises(HarkenError, match=r"a sample rate of 4000 Hz.*start with new weights: --set start_from=\)$"):
        train(recipe(f"start_from={finished_run[1]}", "sample_rate=5000"), material, tmp_path / "run")


def test_weights_that_nobody_asked_for_and_that_do_not_fit_are_left_out_with_a_note(
    finished_run: tuple[TrainingResult, Path], material: Material, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_module, "finish", not_finished)
    monkeypatch.setattr(run_module, "_notes", lambda *_: [])
    default = recipe(f"start_from={finished_run[1]}", "network=tiny", "epochs=1")
    monkeypatch.setitem(run_module.RECIPES, "own", default)  # type: ignore[arg-type]
    (note,) = train(default, material, tmp_path / "run").notes
    assert note.startswith("training started with new weights, which need many more recordings: tiny cannot start from")
    assert not read_run(tmp_path / "run")[0].start_from


def test_words_without_validation_clips_are_named_in_a_note(material: Material, tmp_path: Path) -> None:
    (data,) = material.data
    shutil.copytree(data, tmp_path / "data")
    rows = [f"{path.relative_to(data)},train" for path in sorted((data / "low").rglob("*.wav"))]
    (tmp_path / "data" / "splits.csv").write_text("\n".join(["path,split", *rows]))
    for folder, expected in (
        (data, []),
        (tmp_path / "data", ["there are no validation clips of low, so the validatio"]),
    ):
        given = Material(data=(folder,))
        notes = run_module._notes(recipe(), make_task(recipe(), given), given, Path("unused.onnx"))
        assert [note[:54] for note in notes if "validation clips" in note] == expected


def test_a_student_learns_from_its_teacher_only(
    finished_run: tuple[TrainingResult, Path], material: Material, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_module, "finish", not_finished)
    monkeypatch.chdir(finished_run[1].parent)
    student = recipe("teacher=finished_run", "teacher_share=1", "label_smoothing=0")
    train(student, material, tmp_path / "run")
    assert read_run(tmp_path / "run")[0] == replace(
        student, teacher=(str(finished_run[1]),)
    )  # can be resumed from any folder
    assert not [name for name in weights(tmp_path / "run") if "teacher" in name]
    rows = read_history(tmp_path / "run" / "history.csv")
    assert rows[-1]["train_loss"] < 0.5 * rows[0]["train_loss"]
    assert rows[-1]["validation_accuracy"] > 0.9


# Run folders from somebody else.


class Payload:
    """What runs a program when a pickle of it is loaded."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Callable[..., object], tuple[str]]:
        return os.system, (f"touch '{self.marker}'",)


@pytest.fixture(params=["checkpoint", "pickle"])
def prepared_run(
    request: pytest.FixtureRequest, finished_run: tuple[TrainingResult, Path], tmp_path: Path
) -> tuple[Path, Path]:
    """A run whose checkpoints would write a file when they are loaded, and that file."""
    out, marker = tmp_path / "prepared", tmp_path / "ran"
    shutil.copytree(finished_run[1], out)
    for name in ("best.ckpt", "last.ckpt"):
        if request.param == "pickle":
            (out / name).write_bytes(pickle.dumps(Payload(marker)))
        else:
            content = torch.load(finished_run[1] / name, weights_only=True)
            torch.save(content | {"callbacks": Payload(marker)}, out / name)
    with suppress(RuntimeError):  # "Invalid magic number", after a pickle has been loaded
        torch.load(out / "best.ckpt", weights_only=False)
    marker.unlink()  # the payload works
    return out, marker


def test_code_in_a_checkpoint_is_not_run(
    prepared_run: tuple[Path, Path],
    material: Material,
    tmp_path: Path,
    run: Run,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    prepared, marker = prepared_run
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    small = [
        word
        for name, value in asdict(recipe()).items()
        if name not in ("name", "protocol")
        for word in _set(name, value)
    ]
    start = ["train", "--recipe", "own", "--data", material.data[0], "--out", tmp_path / "run", *small]
    for command in ([*start, "--set", f"start_from={prepared}"], ["train", "--resume", prepared]):
        code, out, err = run(*command)
        assert (code, out, err.count("\n")) == (2, "", 1)
        assert "contains code instead of weights" in err
        assert not marker.exists()
    monkeypatch.setattr(sys, "argv", ["average.py", str(prepared), str(prepared), str(tmp_path / "mean")])
    with pytest.raises(SystemExit, match="2"):
        runpy.run_path(str(Path(__file__).parents[1] / "tools" / "average.py"), run_name="__main__")
    assert capsys.readouterr().err.startswith(f"average.py: {prepared / 'last.ckpt'} is damaged, or contains code")
    # Teachers on a GPU and the export to LiteRT load the network of a run by this function.
    with warnings.catch_warnings(action="error"), pytest.raises(HarkenError, match="contains code instead of weights"):
        load_spotter(prepared, len(WORDS) + 1)
    assert not marker.exists()
    assert not (tmp_path / "mean").exists()


def _set(name: str, value: object) -> list[str]:
    text = (
        ",".join(value) if isinstance(value, tuple) else str(value).lower() if isinstance(value, bool) else str(value)
    )
    return ["--set", f"{name}={text}"]


def test_no_other_file_of_the_project_loads_pickles() -> None:
    root = Path(__file__).parents[1]
    for folder in ("src", "tools", "benchmarks", "tests", "notebooks"):
        for path in (root / folder).rglob("*.py"):
            text = path.read_text(encoding="utf-8")
            # What a test has just pickled itself it may load.
            calls = (
                r"weights_only=False|allow_pickle=True|pickle\.load\(|pickle\.loads\((?!pickle\.dumps\()|joblib\.load"
            )
            assert path == Path(__file__) or not re.search(calls, text), path


def test_a_checkpoint_of_another_network_is_refused(
    finished_run: tuple[TrainingResult, Path], run: Run, tmp_path: Path
) -> None:
    shutil.copytree(finished_run[1], out := tmp_path / "run")
    for content, message in (
        ({"state_dict": {"spotter.network.x": torch.ones(1)}}, "contains the weights of another network"),
        ({"weights": torch.ones(1)}, "is not a checkpoint of harken"),
    ):
        torch.save(content, out / "last.ckpt")
        code, _, err = run("train", "--resume", out)
        assert (code, err.count("\n")) == (2, 1)
        assert message in err


def test_a_moved_run_keeps_its_best_epoch_and_touches_no_other_file(
    finished_run: tuple[TrainingResult, Path], tmp_path: Path
) -> None:
    shutil.copytree(finished_run[1], out := tmp_path / "moved")
    content = load_checkpoint(out / "last.ckpt")
    states = [state for state in content["callbacks"].values() if "best_model_path" in state]
    assert len(states) == 2
    scores = [state["best_model_score"] for state in states]
    for state in states:  # Lightning would delete this file at the next epoch
        state["best_model_path"] = f"{out}/../other"
        state["best_k_models"] = {f"{out}/../other": state["best_model_score"]} if state["monitor"] else {}
    torch.save(content, out / "last.ckpt")
    read = run_module._Checkpoints().load_checkpoint(out / "last.ckpt")["callbacks"]
    best, latest = (state for state in read.values() if "best_model_path" in state)
    assert [best["best_model_score"], latest["best_model_score"]] == scores
    assert best["best_model_path"] == str(out / "best.ckpt")
    assert list(best["best_k_models"]) == [str(out / "best.ckpt")]
    assert latest["best_model_path"] == str(out / "last.ckpt")
    assert best["dirpath"] == latest["dirpath"] == str(out)
