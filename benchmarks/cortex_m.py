"""Run the exported C code on an emulated Arm Cortex-M4 (needs arm-none-eabi-gcc with newlib, and qemu-system-arm).

python benchmarks/cortex_m.py --data DIR... --noise DIR [--models tiny,base] [--clips 20]

The same audio, pushed in pieces of 100 ms, goes through the code that is compiled for this machine and through the code that is
compiled for the Cortex-M4 (Thumb-2, hardware floats). Compares the probabilities, and prints the table of
docs/how-to/microcontroller.md: the instructions that 100 ms of audio take, and the memory. QEMU counts instructions, not
cycles: a real Cortex-M4 needs more than one cycle for some, and waits for its flash.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from harken.errors import HarkenError
from harken.export.c import write_c
from harken.export.c.compiled import compile_c
from harken.export.clips import corpus_clips
from harken.runtime.modelfile import ModelFile

PROGRAM = Path(__file__).parent / "cortex_m"
TARGET = ["-mcpu=cortex-m4", "-mthumb", "-mfpu=fpv4-sp-d16", "-mfloat-abi=hard"]
FLAGS = [*TARGET, "-std=c99", "-O2", "-Wall", "-Wextra", "-Werror", "-ffunction-sections", "-fdata-sections"]
QEMU = [
    "qemu-system-arm",
    "-M",
    "mps2-an386",
    "-nographic",
    "-monitor",
    "none",
    "-serial",
    "none",
    "-icount",
    "shift=0",
]
LIMIT_S = 1200
CHECKED_CLIPS = 120  # when the code is written


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, nargs="+", required=True)
    parser.add_argument("--noise", type=Path, nargs="+", required=True)
    parser.add_argument("--models", default="tiny,base")
    parser.add_argument("--clips", type=int, default=20, help="clips that are pushed")
    arguments = parser.parse_args()
    print("| | code | constants | RAM | stack | instructions for 100 ms: median | most | largest difference |")
    print("|---|---|---|---|---|---|---|---|")
    try:
        for model in arguments.models.split(","):
            clips = corpus_clips(ModelFile(model).card, arguments.data, noise=arguments.noise)
            for eight_bits in (False, True):
                calibration = clips.calibration if eight_bits else None
                with tempfile.TemporaryDirectory() as folder:
                    write_c(model, Path(folder), "model", clips.clips[:CHECKED_CLIPS], calibration=calibration)
                    row = measure(Path(folder), clips.clips[: arguments.clips], len(ModelFile(model).card.labels))
                print(f"| `{model}`, `{'c-int8' if eight_bits else 'c'}` | {row} |", flush=True)
    except (HarkenError, OSError, subprocess.SubprocessError) as error:
        sys.exit(f"error: {error}")


def measure(folder: Path, clips: NDArray[np.float32], classes: int) -> str:
    """Return the row of model.c in a folder."""
    compiled, _ = compile_c(folder / "model.c", folder, classes=classes, window=clips.shape[1])
    samples = (clips.reshape(-1) * 32767).astype(np.int16)
    (folder / "samples").write_bytes(samples.tobytes())
    hop = clips.shape[1] // 10
    compiled.reset()
    expected = []
    for start in range(0, samples.size // hop * hop, hop):
        compiled.push(samples[start : start + hop])
        expected.append(compiled.probabilities()[0])
    *lines, stack = on_cortex_m4(folder, hop, classes).splitlines()
    found = np.array([[float(number) for number in line.split()] for line in lines])
    instructions = found[10:, 0] / 1e6  # the first second fills the window
    difference = np.abs(found[:, 1:] - np.array(expected)).max()
    code, constants, ram = sizes(folder / "model.o")
    memory = " | ".join(f"{size / 1024:.1f} KB" for size in (code, constants, ram, int(stack)))
    return f"{memory} | {np.median(instructions):.2f} million | {instructions.max():.2f} million | {difference:.1g}"


def on_cortex_m4(folder: Path, hop: int, classes: int) -> str:
    """Return what the program prints."""
    names = {
        "MODEL": '"model.h"',
        "push": "model_push",
        "probabilities": "model_probabilities",
        "HOP": hop,
        "CLASSES": classes,
    }
    defined = [f"-D{name}={value}" for name, value in names.items()]
    compiler = ["arm-none-eabi-gcc", *FLAGS]
    subprocess.run([*compiler, "-c", "model.c", "-o", "model.o"], cwd=folder, check=True)
    program = [
        *compiler,
        *defined,
        "-I.",
        str(PROGRAM / "main.c"),
        "model.o",
        "-nostartfiles",
        "-T",
        str(PROGRAM / "start.ld"),
    ]
    subprocess.run([*program, "--specs=rdimon.specs", "-lm", "-o", "model.elf"], cwd=folder, check=True)
    command = [*QEMU, "-semihosting-config", "enable=on,target=native", "-kernel", "model.elf"]
    return subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True, timeout=LIMIT_S).stdout


def sizes(unit: Path) -> tuple[int, int, int]:
    """Return the bytes of code, of constants and of RAM in an object file."""
    printed = subprocess.run(["arm-none-eabi-size", "-A", str(unit)], check=True, capture_output=True, text=True).stdout
    totals = {".text": 0, ".rodata": 0, ".data": 0, ".bss": 0}
    for line in printed.splitlines():
        fields = line.split()
        for kind in totals:
            if len(fields) == 3 and fields[0].startswith(kind):
                totals[kind] += int(fields[1])
    return totals[".text"], totals[".rodata"], totals[".data"] + totals[".bss"]


if __name__ == "__main__":
    main()
