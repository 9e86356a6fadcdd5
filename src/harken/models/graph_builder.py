"""Build an ONNX graph node by node, where the graph that torch exports is too slow."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from harken.models.onnx_writer import IR_VERSION, OPSET

Value = str | NDArray[Any]  # the name of a tensor, or a constant


class GraphBuilder:
    """A graph under construction. Tensors are referred to by name."""

    def __init__(self) -> None:
        self._nodes: list[onnx.NodeProto] = []
        self._constants: list[onnx.TensorProto] = []

    def constant(self, value: NDArray[Any], name: str = "") -> str:
        """Add a constant, in float32 or int64, and return its name."""
        name = name or f"constant_{len(self._constants)}"
        kind = np.float32 if value.dtype.kind == "f" else np.int64
        self._constants.append(numpy_helper.from_array(np.ascontiguousarray(value, kind), name))
        return name

    def __call__(self, operator: str, *inputs: Value, out: str = "", **attributes: Any) -> str:
        """Add a node with one output, and return the output's name."""
        (name,) = self.several(operator, *inputs, out=[out or f"{operator}_{len(self._nodes)}"], **attributes)
        return name

    def several(self, operator: str, *inputs: Value, out: list[str], **attributes: Any) -> list[str]:
        """Add a node with several outputs, and return their names."""
        names = [value if isinstance(value, str) else self.constant(value) for value in inputs]
        self._nodes.append(helper.make_node(operator, names, out, name=f"node_{len(self._nodes)}", **attributes))
        return out

    def reshape(self, x: str, *sizes: int) -> str:
        """Change the shape of a tensor [N, ...] to [N, *sizes]."""
        return self("Reshape", x, np.array([-1, *sizes]))

    def slice(self, x: str, start: int, end: int, axis: int) -> str:
        """Return a part of a tensor along an axis."""
        return self("Slice", x, np.array([start]), np.array([end]), np.array([axis]))

    def model(self, inputs: Mapping[str, int], outputs: Mapping[str, int]) -> onnx.ModelProto:
        """Return the model.

        Parameters
        ----------
        inputs, outputs
            Sizes of the inputs and outputs, by name. Their shapes are [clips, size].
        """
        graph_inputs, graph_outputs = (
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["clips", size]) for name, size in side.items()]
            for side in (inputs, outputs)
        )
        graph = helper.make_graph(self._nodes, "main_graph", graph_inputs, graph_outputs, self._constants)
        opset = [helper.make_opsetid("", OPSET)]
        model = helper.make_model(graph, opset_imports=opset, ir_version=IR_VERSION, producer_name="harken")
        onnx.checker.check_model(model)
        return model
