"""One recogniser at work, clip by clip, as benchmarks/runtime.py asks for it on standard input.

python benchmarks/runtime_contenders.py KIND MODEL CLIPS.npz

KIND is one of onnx, stream, c, litert, pocketsphinx, openwakeword, keras. Lines in: `clip N`, `second N`, `memory`. A line
of JSON out for each: milliseconds and, for a clip, the word heard or null. CLIPS.npz holds `clips`, int16 [clips, 16000].
Each kind imports what it needs and no more, so that memory is its own.
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

CHUNK = 1600  # samples, 100 ms: a stream comes in these
RATE = 16_000

Answer = Callable[[np.ndarray], "str | None"]
Hear = Callable[[np.ndarray], None]


def harken_onnx(model: str) -> tuple[Answer, Hear]:
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


def harken_stream(model: str) -> tuple[None, Hear]:
    from harken.runtime.listener import Listener
    from harken.runtime.streamfile import StreamFile

    listener = Listener(StreamFile(model), source_rate=RATE)
    return None, lambda clip: in_chunks(clip, listener.push)


def harken_c(model: str) -> tuple[Answer, Hear]:
    """The library by itself: harken's own caller would bring torch into the process."""
    name, labels = Path(model).stem, json.loads(Path(model).with_suffix(".json").read_text())["labels"]
    library = ctypes.CDLL(model)
    floats, samples = ctypes.POINTER(ctypes.c_float), ctypes.POINTER(ctypes.c_int16)
    run, listen, look = (library[f"{name}_{what}"] for what in ("run", "push", "probabilities"))
    run.restype = listen.restype = None
    run.argtypes, listen.argtypes, look.argtypes = [floats, floats], [samples, ctypes.c_size_t], [floats]
    out = np.zeros(len(labels), np.float32)
    found = out.ctypes.data_as(floats)

    def answer(clip: np.ndarray) -> str | None:
        run((clip.astype(np.float32) / 32768).ctypes.data_as(floats), found)
        label = labels[int(out.argmax())]
        return None if label.startswith("_") else label

    def push(chunk: np.ndarray) -> None:
        listen(np.ascontiguousarray(chunk).ctypes.data_as(samples), chunk.size)
        look(found)

    return answer, lambda clip: in_chunks(clip, push)


def harken_litert(model: str) -> tuple[Answer, Hear]:
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


def pocketsphinx(words: str) -> tuple[Answer, Hear]:
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
        heard = decoder.hyp()
        return heard.hypstr if heard is not None and heard.hypstr else None

    def hear(clip: np.ndarray) -> None:
        decoder.start_utt()
        in_chunks(clip, lambda chunk: (decoder.process_raw(chunk.tobytes()), decoder.hyp()))
        decoder.end_utt()

    return answer, hear


def openwakeword(_: str) -> tuple[None, Hear]:
    """The front-end and embedding that all of openWakeWord's words share, each 80 ms, without the words' small heads."""
    import onnxruntime
    import wakebox

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    folder = Path(wakebox.__file__).parent / "models"
    spectrum, embedding = (
        onnxruntime.InferenceSession(str(folder / name), options, providers=["CPUExecutionProvider"])
        for name in ("melspectrogram.onnx", "embedding_model.onnx")
    )
    step, past = 1280, 480  # samples: a step's 8 frames reach so far back
    names = [session.get_inputs()[0].name for session in (spectrum, embedding)]
    sound, frames = np.zeros(past, np.float32), np.zeros((76, 32), np.float32)

    def hear(clip: np.ndarray) -> None:
        nonlocal sound, frames
        sound = np.concatenate([sound, clip.astype(np.float32)])
        while sound.size >= past + step:
            mel = spectrum.run(None, {names[0]: sound[None, : past + step]})[0].reshape(-1, 32) / 10 + 2
            frames = np.concatenate([frames, mel.astype(np.float32)])[-76:]
            embedding.run(None, {names[1]: frames[None, :, :, None]})
            sound = sound[step:]

    return None, lambda clip: in_chunks(clip, hear)


def keras(_: str) -> tuple[Answer, Hear]:
    """The tutorial's network and the tutorial's way to ask it; untrained, since only its cost is measured."""
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


def sliding(answer: Answer) -> Hear:
    """Return how a stream is heard by one who judges windows alone: the last second, every 100 ms."""
    window = np.zeros(RATE, np.int16)

    def push(chunk: np.ndarray) -> None:
        nonlocal window
        window = np.concatenate([window[chunk.size :], chunk])
        answer(window)

    return lambda clip: in_chunks(clip, push)


def resident_mb() -> float:
    """Return the memory that this process holds now; where the system does not tell, the most that it has held."""
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
    "keras": keras,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=list(KINDS))
    parser.add_argument("model", help="path, name or words, whatever the kind takes; - where it takes none")
    parser.add_argument("clips", type=Path, help="the clips, .npz")
    options = parser.parse_args()
    clips = np.load(options.clips)["clips"]
    before = resident_mb()
    answer, hear = KINDS[options.kind](options.model)
    print(json.dumps({"ready": True, "answers": answer is not None}), flush=True)
    for line in sys.stdin:
        asked, _, number = line.strip().partition(" ")
        if asked == "memory":
            print(json.dumps({"mb": resident_mb() - before}), flush=True)
            continue
        clip, word = clips[int(number)], None
        started = time.perf_counter()
        if asked == "clip" and answer is not None:
            word = answer(clip)
        else:
            hear(clip)
        print(json.dumps({"ms": 1000 * (time.perf_counter() - started), "word": word}), flush=True)


if __name__ == "__main__":
    main()
