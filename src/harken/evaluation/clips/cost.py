"""What a model file costs: its size, its arithmetic, the time and memory that one clip takes.

measure_cost          a model file -> Cost
graph_multiply_adds   multiply-adds of an ONNX graph, front-end and network apart

Time and memory are taken in a fresh process that imports what running a model needs and nothing else: this module, run
as a program on a model file.
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

_WARM_UP = 20
_LEAST_RUNS = 100
_MOST_RUNS = 2_000
_MOST_SECONDS = 5.0


@dataclass(frozen=True)
class Cost:
    """What a model file costs.

    parameters : of the network; None where neither card nor recipe tells. multiply_adds, front_end_multiply_adds : for
    one window; None where the graph does not tell its shapes. latency_ms_median, latency_ms_p99 : of one window on one
    thread, over `runs` runs. resident_bytes : of the fresh process at its highest; base_bytes : of the same process
    before it opened the model; None where the system does not tell. processor : what it ran on.
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
    """Measure a model file. Raises HarkenError when it cannot be run in a process of its own."""
    measured = _run_alone(model.path)
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
    """Return the multiply-adds of one window: those of the network, and those of the front-end before it.

    They are counted as in harken.models.summary, where weights are: convolutions, matrix products, LSTMs and GRUs.
    The front-end's weights are called so by name. None, None where a shape is not known.
    """
    import onnx
    from onnx import shape_inference

    graph = shape_inference.infer_shapes(onnx.load(str(path))).graph
    shapes = {
        value.name: [dimension.dim_value or 1 for dimension in value.type.tensor_type.shape.dim]
        for value in (*graph.input, *graph.value_info, *graph.output)
        if value.type.tensor_type.HasField("shape")
    }
    # What each constant is made of, so that a weight is known after it was transposed or taken out of int8.
    made_of = {tensor.name: {tensor.name} for tensor in graph.initializer}
    shapes |= {tensor.name: list(tensor.dims) for tensor in graph.initializer}
    counts = {False: 0, True: 0}
    for node in graph.node:
        given = [name for name in node.input if name]
        if all(name in made_of for name in given):
            made_of |= {name: set().union(*(made_of[source] for source in given)) for name in node.output}
            continue
        try:
            products = _products(node, shapes, made_of)
        except KeyError:
            return None, None
        if products:
            of_front_end = any("front_end" in name for source in given for name in made_of.get(source, ()))
            counts[of_front_end] += products
    return counts[False], counts[True]


def _products(node: "onnx.NodeProto", shapes: dict[str, list[int]], constants: dict[str, set[str]]) -> int:
    """Count each weight of a node once for every place at which it is used; raises KeyError for an unknown shape."""
    if node.op_type == "Conv":
        weight, out = shapes[node.input[1]], shapes[node.output[0]]
        return int(np.prod(weight) * np.prod(out[2:]))
    if node.op_type in ("MatMul", "Gemm"):
        weights = [name for name in node.input[:2] if name in constants]
        if not weights:
            return 0  # a product of two signals, as inside attention
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


def _run_alone(path: Path) -> dict[str, Any]:
    command = [sys.executable, "-m", "harken.evaluation.clips.cost", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no word of why"])[-1]
        raise HarkenError(f"{path} could not be run in a process of its own ({reason}): try harken predict with it")
    figures: dict[str, Any] = json.loads(done.stdout)
    return figures


def _measure(path: str) -> dict[str, Any]:
    base = _resident_bytes()
    model = ModelFile(path)
    window = (0.1 * np.random.default_rng(0).standard_normal((1, model.card.window))).astype(np.float32)
    for _ in range(_WARM_UP):
        model.probabilities(window)
    gc.disable()  # a collection is not the model's doing
    times: list[float] = []
    end = time.perf_counter() + _MOST_SECONDS
    while len(times) < _LEAST_RUNS or (len(times) < _MOST_RUNS and time.perf_counter() < end):
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
    """Return the highest resident memory of this process, where the system tells."""
    status = Path("/proc/self/status")
    if status.is_file():  # Linux; its ru_maxrss counts the parent's memory too
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
