"""The tutorial with librosa, Keras 3 and TensorFlow, clip by clip. benchmarks/tutorial.py runs it.

python benchmarks/tutorial_keras.py load | train | predict --data DIR --run RUN --result FILE [--epochs N] [--clips FILE]

load reads the corpus. train reads it and trains the network in RUN. predict predicts the clips listed in FILE one by one.
"""

import argparse
import json
import statistics
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import librosa
import numpy as np

WORDS = ["yes", "no", "up", "down", "left", "right", "on", "off", "stop", "go"]
SUFFIXES = (".wav", ".flac", ".ogg")
PREDICTED = 200
WARM_UP = 10


def load_waveform(path):
    samples, _ = librosa.load(path, sr=16000)
    return librosa.resample(samples, orig_sr=16000, target_sr=8000)


def load_corpus(data: Path):
    waves, labels = [], []
    for label, word in enumerate(WORDS):
        for path in sorted((data / word).iterdir()):
            if path.suffix in SUFFIXES:
                samples = load_waveform(path)
                if len(samples) == 8000:
                    waves.append(samples)
                    labels.append(label)
    return np.array(waves).reshape(-1, 8000, 1), np.array(labels)


def build_model():
    from keras import layers, models

    model = models.Sequential([layers.Input((8000, 1))])
    for filters, width in ((8, 13), (16, 11), (32, 9), (64, 7)):
        model.add(layers.Conv1D(filters, width, padding="valid", activation="relu"))
        model.add(layers.MaxPooling1D(3))
        model.add(layers.Dropout(0.3))
    model.add(layers.Flatten())
    for units in (256, 128):
        model.add(layers.Dense(units, activation="relu"))
        model.add(layers.Dropout(0.3))
    model.add(layers.Dense(len(WORDS), activation="softmax"))
    model.compile(loss="categorical_crossentropy", optimizer="adam", metrics=["accuracy"])
    return model


def timed_load(data: Path):
    # One clip before the clock starts, since librosa compiles and imports parts of itself at the first clip.
    load_waveform(next(path for path in sorted((data / WORDS[0]).iterdir()) if path.suffix in SUFFIXES))
    started, cpu = time.perf_counter(), time.process_time()
    waves, labels = load_corpus(data)
    loaded = {"load_s": time.perf_counter() - started, "cpu_s": time.process_time() - cpu, "clips": len(waves)}
    return waves, labels, loaded


def load(options) -> dict[str, Any]:
    _, _, loaded = timed_load(options.data)
    return loaded


def train(options) -> dict[str, Any]:
    import keras
    from sklearn.model_selection import train_test_split

    waves, labels, loaded = timed_load(options.data)
    answers = keras.utils.to_categorical(labels, len(WORDS))
    x, _, y, _ = train_test_split(waves, answers, stratify=answers, test_size=0.2, random_state=7)
    x_train, x_validation, y_train, y_validation = train_test_split(x, y, test_size=0.2, random_state=7)

    steps: list[float] = []

    class Clock(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            steps.append(time.perf_counter())

    model = build_model()
    history = model.fit(
        x_train,
        y_train,
        epochs=options.epochs,
        batch_size=32,
        validation_data=(x_validation, y_validation),
        callbacks=[
            keras.callbacks.EarlyStopping(monitor="val_loss", patience=10, min_delta=1e-4),
            keras.callbacks.ModelCheckpoint(options.run / "best.keras", monitor="val_accuracy", save_best_only=True),
            Clock(),
        ],
        verbose=2,
    )
    return {
        **loaded,
        "parameters": model.count_params(),
        "train_clips": len(x_train),
        "steps": steps,
        "validation_accuracy": max(history.history["val_accuracy"]),
        "versions": {name: version(name) for name in ("tensorflow-cpu", "keras", "librosa", "soxr", "numpy")},
    }


def predict(options) -> dict[str, Any]:
    import keras

    model = keras.models.load_model(options.run / "best.keras")

    def answer(samples):
        return WORDS[np.argmax(model.predict(samples.reshape(1, 8000, 1), verbose=0)[0])]

    waves = {}
    for path in options.clips.read_text().splitlines():
        if len(waves) < PREDICTED and len(samples := load_waveform(path)) == 8000:
            waves[path] = samples
    for _ in range(WARM_UP):
        answer(next(iter(waves.values())))
    array_s, file_s = [], []
    for samples in waves.values():
        started = time.perf_counter()
        answer(samples)
        array_s.append(time.perf_counter() - started)
    for path in waves:
        started = time.perf_counter()
        answer(load_waveform(path))
        file_s.append(time.perf_counter() - started)
    return {"predicted": len(waves), "array_s": statistics.median(array_s), "file_s": statistics.median(file_s)}


def main() -> None:
    stages = {"load": load, "train": train, "predict": predict}
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stage", choices=stages)
    for name in ("--data", "--run", "--result"):
        parser.add_argument(name, type=Path, required=True)
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--clips", type=Path)
    options = parser.parse_args()
    options.run.mkdir(parents=True, exist_ok=True)
    options.result.write_text(json.dumps(stages[options.stage](options)))


if __name__ == "__main__":
    main()
