"""Measure the cost of a model file: size, arithmetic, and the time and memory for one clip.

Cost                  the measurements
measure_cost          measure a model file
graph_multiply_adds   count the multiply-adds of an ONNX graph, separately for front-end and network

Time and memory are measured in a fresh process that imports only what running a model needs. That process runs this
module as a program.
"""

import gc
import json
import platform
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from harken.errors import HarkenError
from harken.runtime.modelfile import Card, ModelFile

if TYPE_CHECKING:
    import onnx

_WARM_UP_RUNS = 20
_MIN_RUNS = 100
_MAX_RUNS = 2_000
_MAX_SECONDS = 5.0


@dataclass(frozen=True)
class Cost:
    """The cost of a model file.

    Attributes
    ----------
    file_bytes
        Size of the model file.
    parameters
        Parameters of the network; None if neither the card nor the recipe states them.
    multiply_adds, front_end_multiply_adds
        Multiply-adds for one window; None if the graph has unknown shapes.
    latency_ms_median, latency_ms_p99
        Time for one window on one thread, over `runs` runs.
    runs
        How often one window was timed.
    resident_bytes
        Peak memory of the fresh process; None if the system does not report it.
    base_bytes
        Memory of the same process before it opened the model; None if the system does not report it.
    processor
        Name of the processor.
    """

    file_bytes: int
    parameters: int | None
    multiply_adds: int | None
    front_end_multiply_adds: int | None
    latency_ms_median: float
    latency_ms_p99: float
    runs: int
    resident_bytes: int | None
    base_bytes: int | None
    processor: str

    def to_json(self) -> dict[str, Any]:
        """Return the figures as plain values."""
        return asdict(self)


def measure_cost(model: ModelFile) -> Cost:
    """Measure the cost of a model file.

    Raises
    ------
    HarkenError
        The model cannot be run in a process of its own.
    """
    measured = _measure_in_fresh_process(model.path)
    network, front_end = graph_multiply_adds(model.path)
    return Cost(
        file_bytes=model.path.stat().st_size,
        parameters=_parameters(model.card),
        multiply_adds=network,
        front_end_multiply_adds=front_end,
        processor=_processor(),
        **measured,
    )


def graph_multiply_adds(path: Path) -> tuple[int | None, int | None]:
    """Count the multiply-adds for one window.

    As in harken.models.summary, only operators with weights count: convolutions, matrix products, LSTMs and GRUs. Weights
    whose name contains "front_end" belong to the front-end.

    Returns
    -------
    network, front_end
        The two counts; None, None if a shape is not known.
    """
    import onnx
    from onnx import shape_inference

    graph = shape_inference.infer_shapes(onnx.load(str(path))).graph
    shapes = {
        value.name: [dimension.dim_value or 1 for dimension in value.type.tensor_type.shape.dim]
        for value in (*graph.input, *graph.value_info, *graph.output)
        if value.type.tensor_type.HasField("shape")
    }
    # The weights that each constant is computed from: a weight is still known after a transpose or a dequantization.
    computed_from = {tensor.name: {tensor.name} for tensor in graph.initializer}
    shapes |= {tensor.name: list(tensor.dims) for tensor in graph.initializer}
    counts = {False: 0, True: 0}
    for node in graph.node:
        given = [name for name in node.input if name]
        if all(name in computed_from for name in given):
            computed_from |= {name: set().union(*(computed_from[source] for source in given)) for name in node.output}
            continue
        try:
            products = _multiply_adds_of_node(node, shapes, computed_from)
        except KeyError:
            return None, None
        if products:
            of_front_end = any("front_end" in name for source in given for name in computed_from.get(source, ()))
            counts[of_front_end] += products
    return counts[False], counts[True]


def _multiply_adds_of_node(node: "onnx.NodeProto", shapes: dict[str, list[int]], constants: dict[str, set[str]]) -> int:
    """Count every use of each weight of a node. Raises KeyError for an unknown shape."""
    if node.op_type == "Conv":
        weight, out = shapes[node.input[1]], shapes[node.output[0]]
        return int(np.prod(weight) * np.prod(out[2:]))
    if node.op_type in ("MatMul", "Gemm"):
        weights = [name for name in node.input[:2] if name in constants]
        if not weights:
            return 0  # A product of two signals, as inside attention, has no weights.
        weight, out = shapes[weights[0]], shapes[node.output[0]]
        columns = out[-1] if weights[0] == node.input[1] else out[-2]
        return int(np.prod(weight) * np.prod(out)) // columns
    if node.op_type in ("LSTM", "GRU"):
        steps = shapes[node.input[0]][0]
        return steps * sum(int(np.prod(shapes[name])) for name in node.input[1:3])
    return 0


def _parameters(card: Card) -> int | None:
    if "parameters" in card.fields:
        return int(card.fields["parameters"])
    if "recipe" not in card.fields:
        return None
    from harken.models.spotter import Spotter
    from harken.models.summary import count_parameters
    from harken.tasks.recipe import Recipe

    return count_parameters(Spotter(Recipe.from_json(card.fields["recipe"]), len(card.labels)).network)


def _measure_in_fresh_process(path: Path) -> dict[str, Any]:
    command = [sys.executable, "-m", "harken.evaluation.clips.cost", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise HarkenError(f"{path} could not be run in a process of its own ({reason}): check it with `harken predict`")
    figures: dict[str, Any] = json.loads(done.stdout)
    return figures


def _measure(path: str) -> dict[str, Any]:
    base = _resident_bytes()
    model = ModelFile(path)
    window = (0.1 * np.random.default_rng(0).standard_normal((1, model.card.window))).astype(np.float32)
    for _ in range(_WARM_UP_RUNS):
        model.probabilities(window)
    gc.disable()  # A garbage collection is no part of the model's time.
    times: list[float] = []
    end = time.perf_counter() + _MAX_SECONDS
    while len(times) < _MIN_RUNS or (len(times) < _MAX_RUNS and time.perf_counter() < end):
        start = time.perf_counter()
        model.probabilities(window)
        times.append(1000 * (time.perf_counter() - start))
    median, p99 = np.percentile(times, [50, 99])
    return {
        "latency_ms_median": float(median),
        "latency_ms_p99": float(p99),
        "runs": len(times),
        "resident_bytes": _resident_bytes(),
        "base_bytes": base,
    }


def _resident_bytes() -> int | None:
    """Return the peak resident memory of this process, or None if the system does not report it."""
    status = Path("/proc/self/status")
    if status.is_file():  # On Linux, ru_maxrss would include the parent's memory.
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return 1024 * int(line.split()[1])
    elif sys.platform == "darwin":
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return None


def _processor() -> str:
    information = Path("/proc/cpuinfo")
    if information.is_file():
        for line in information.read_text(errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


if __name__ == "__main__":
    print(json.dumps(_measure(sys.argv[1])))
