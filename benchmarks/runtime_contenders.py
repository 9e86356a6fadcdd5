"""Run one recognizer on clips, as benchmarks/runtime.py requests on standard input.

python benchmarks/runtime_contenders.py KIND MODEL CLIPS.npz

KIND is one of onnx, stream, c, litert, pocketsphinx, openwakeword, microwakeword, keras. The requests are lines: `clip N`,
`second N` or `memory`. Each reply is a line of JSON: milliseconds and, for a clip, the recognized word or null. CLIPS.npz
contains `clips`, int16 [clips, 16000]. Each kind imports only what it needs, so that the memory is its own.
"""

import argparse
import ctypes
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

CHUNK = 1600  # samples in a chunk of a stream, 100 ms
RATE = 16_000

Answer = Callable[[np.ndarray], "str | None"]
StreamSecond = Callable[[np.ndarray], None]


def harken_onnx(model: str) -> tuple[Answer, StreamSecond]:
    from harken.runtime.listener import Listener
    from harken.runtime.recognizer import Recognizer

    recognizer = Recognizer(model)
    labels, words = recognizer.labels, set(recognizer.card.words)
    listener = Listener(recognizer, source_rate=RATE)

    def answer(clip: np.ndarray) -> str | None:
        probabilities = recognizer.model.probabilities(clip[None].astype(np.float32) / 32768)
        label = labels[int(probabilities[0].argmax())]
        return label if label in words else None

    return answer, lambda clip: in_chunks(clip, listener.push)


def harken_stream(model: str) -> tuple[None, StreamSecond]:
    from harken.runtime.listener import Listener
    from harken.runtime.streamfile import StreamFile

    listener = Listener(StreamFile(model), source_rate=RATE)
    return None, lambda clip: in_chunks(clip, listener.push)


def harken_c(model: str) -> tuple[Answer, StreamSecond]:
    """Call the library with ctypes only: harken.export.c would import torch."""
    name, labels = Path(model).stem, json.loads(Path(model).with_suffix(".json").read_text())["labels"]
    library = ctypes.CDLL(model)
    floats, samples = ctypes.POINTER(ctypes.c_float), ctypes.POINTER(ctypes.c_int16)
    run, push_samples, probabilities = (library[f"{name}_{what}"] for what in ("run", "push", "probabilities"))
    run.restype = push_samples.restype = None
    run.argtypes, push_samples.argtypes, probabilities.argtypes = [floats, floats], [samples, ctypes.c_size_t], [floats]
    out = np.zeros(len(labels), np.float32)
    found = out.ctypes.data_as(floats)

    def answer(clip: np.ndarray) -> str | None:
        run((clip.astype(np.float32) / 32768).ctypes.data_as(floats), found)
        label = labels[int(out.argmax())]
        return None if label.startswith("_") else label

    def push(chunk: np.ndarray) -> None:
        push_samples(np.ascontiguousarray(chunk).ctypes.data_as(samples), chunk.size)
        probabilities(found)

    return answer, lambda clip: in_chunks(clip, push)


def harken_litert(model: str) -> tuple[Answer, StreamSecond]:
    from ai_edge_litert.interpreter import Interpreter

    labels = json.loads(Path(f"{model}.json").read_text())["labels"]
    interpreter = Interpreter(model_path=model, num_threads=1)
    interpreter.allocate_tensors()
    entry, out = interpreter.get_input_details()[0]["index"], interpreter.get_output_details()[0]["index"]

    def answer(clip: np.ndarray) -> str | None:
        interpreter.set_tensor(entry, clip[None].astype(np.float32) / 32768)
        interpreter.invoke()
        label = labels[int(interpreter.get_tensor(out)[0].argmax())]
        return None if label.startswith("_") else label

    return answer, sliding(answer)


def pocketsphinx(words: str) -> tuple[Answer, StreamSecond]:
    from pocketsphinx import Decoder, get_model_path

    decoder = Decoder(
        hmm=get_model_path("en-us/en-us"), dict=get_model_path("en-us/cmudict-en-us.dict"), lm=None, loglevel="FATAL"
    )
    grammar = f"#JSGF V1.0; grammar words; public <word> = {' | '.join(words.split(','))};"
    decoder.add_jsgf_string("words", grammar)
    decoder.activate_search("words")

    def answer(clip: np.ndarray) -> str | None:
        decoder.start_utt()
        decoder.process_raw(clip.tobytes(), full_utt=True)
        decoder.end_utt()
        hypothesis = decoder.hyp()
        return hypothesis.hypstr if hypothesis is not None and hypothesis.hypstr else None

    def stream_second(clip: np.ndarray) -> None:
        decoder.start_utt()
        in_chunks(clip, lambda chunk: (decoder.process_raw(chunk.tobytes()), decoder.hyp()))
        decoder.end_utt()

    return answer, stream_second


def openwakeword(_: str) -> tuple[None, StreamSecond]:
    """Run the front-end and embedding that all words of openWakeWord share, every 80 ms, without their classifiers."""
    import onnxruntime
    import wakebox

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    folder = Path(wakebox.__file__).parent / "models"
    spectrum, embedding = (
        onnxruntime.InferenceSession(str(folder / name), options, providers=["CPUExecutionProvider"])
        for name in ("melspectrogram.onnx", "embedding_model.onnx")
    )
    step, past = 1280, 480  # in samples; the 8 frames of a step also need the `past` samples before it
    names = [session.get_inputs()[0].name for session in (spectrum, embedding)]
    sound, frames = np.zeros(past, np.float32), np.zeros((76, 32), np.float32)

    def push(chunk: np.ndarray) -> None:
        nonlocal sound, frames
        sound = np.concatenate([sound, chunk.astype(np.float32)])
        while sound.size >= past + step:
            mel = spectrum.run(None, {names[0]: sound[None, : past + step]})[0].reshape(-1, 32) / 10 + 2
            frames = np.concatenate([frames, mel.astype(np.float32)])[-76:]
            embedding.run(None, {names[1]: frames[None, :, :, None]})
            sound = sound[step:]

    return None, lambda clip: in_chunks(clip, push)


def microwakeword(name: str) -> tuple[None, StreamSecond]:
    """Run a wake word that the package brings: the front-end every 10 ms and the network every 30 ms, in 8 bits."""
    from pymicro_wakeword import MicroWakeWord, MicroWakeWordFeatures, Model

    engine, features = MicroWakeWord.from_builtin(Model(name)), MicroWakeWordFeatures()

    def push(chunk: np.ndarray) -> None:
        for frame in features.process_streaming(chunk.tobytes()):
            engine.process_streaming(frame)

    return None, lambda clip: in_chunks(clip, push)


def keras(_: str) -> tuple[Answer, StreamSecond]:
    """Run the network of the tutorial as the tutorial does. It is untrained, since only its cost is measured."""
    import tensorflow

    from tutorial_keras import build_model

    tensorflow.config.threading.set_intra_op_parallelism_threads(1)
    tensorflow.config.threading.set_inter_op_parallelism_threads(1)
    model = build_model()

    def answer(clip: np.ndarray) -> None:
        model.predict(clip[::2].reshape(1, 8000, 1) / 32768, verbose=0)

    return answer, sliding(answer)


def in_chunks(clip: np.ndarray, take: Callable[[np.ndarray], Any]) -> None:
    for start in range(0, clip.size, CHUNK):
        take(clip[start : start + CHUNK])


def sliding(answer: Answer) -> StreamSecond:
    """Return a function that evaluates the last second of a stream every 100 ms."""
    window = np.zeros(RATE, np.int16)

    def push(chunk: np.ndarray) -> None:
        nonlocal window
        window = np.concatenate([window[chunk.size :], chunk])
        answer(window)

    return lambda clip: in_chunks(clip, push)


def resident_mb() -> float:
    """Return the resident memory of this process, or its peak if the system does not report the current value."""
    statm = Path("/proc/self/statm")
    if statm.is_file():
        return int(statm.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6  # macOS counts bytes


KINDS = {
    "onnx": harken_onnx,
    "stream": harken_stream,
    "c": harken_c,
    "litert": harken_litert,
    "pocketsphinx": pocketsphinx,
    "openwakeword": openwakeword,
    "microwakeword": microwakeword,
    "keras": keras,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=list(KINDS))
    parser.add_argument("model", help="path, name or words, depending on KIND; - for none")
    parser.add_argument("clips", type=Path, help="the clips (.npz)")
    options = parser.parse_args()
    clips = np.load(options.clips)["clips"]
    before = resident_mb()
    answer, stream_second = KINDS[options.kind](options.model)
    print(json.dumps({"ready": True, "answers": answer is not None}), flush=True)
    for line in sys.stdin:
        request, _, number = line.strip().partition(" ")
        if request == "memory":
            print(json.dumps({"mb": resident_mb() - before}), flush=True)
            continue
        clip, word = clips[int(number)], None
        started = time.perf_counter()
        if request == "clip" and answer is not None:
            word = answer(clip)
        else:
            stream_second(clip)
        print(json.dumps({"ms": 1000 * (time.perf_counter() - started), "word": word}), flush=True)


if __name__ == "__main__":
    main()
