"""Nodes: a graph as it grows, node by node."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper


class NodeBuilder:
    """Nodes and constants as they are added, each value under the name of what it holds.

    Args:
        taken: names that are spoken for: of inputs, which are those of columns, and of outputs.
    """

    def __init__(self, taken: Collection[str]) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self._taken = set(taken)
        self._shared: dict[str, str] = {}

    def constant(self, name: str, array: NDArray[Any]) -> str:
        """Add a constant; texts are arrays of objects. Returns its name."""
        name = self._free(name)
        self.constants.append(numpy_helper.from_array(np.asarray(array, order="C"), name))
        return name

    def shared(self, name: str, array: NDArray[Any]) -> str:
        """A constant that is added once, however often it is asked for. Returns its name."""
        if name not in self._shared:
            self._shared[name] = self.constant(name, array)
        return self._shared[name]

    def node(self, operator: str, inputs: list[str], output: str, **attributes: Any) -> str:
        """Add a node of one output. Returns the output's name."""
        return self.split(operator, inputs, [output], **attributes)[0]

    def split(
        self, operator: str, inputs: list[str], outputs: list[str], **attributes: Any
    ) -> list[str]:
        """Add a node of several outputs. Returns their names."""
        names = [self._free(output) for output in outputs]
        self.nodes.append(
            helper.make_node(operator, inputs, names, name=f"{operator}_{names[0]}", **attributes)
        )
        return names

    def answer(self, operator: str, inputs: list[str], output: str, **attributes: Any) -> str:
        """Add a node whose output is one of the graph's, under just that name."""
        self.nodes.append(
            helper.make_node(operator, inputs, [output], name=f"{operator}_{output}", **attributes)
        )
        return output

    def as_vector(self, value: str) -> str:
        """A column `[N, 1]` as `[N]`."""
        shape = self.constant(f"shape_{value}", np.array([-1]))
        return self.node("Reshape", [value, shape], f"{value}_flat")

    def joined(self, values: list[str], output: str) -> str:
        """Values side by side; one is as it is."""
        return values[0] if len(values) == 1 else self.node("Concat", values, output, axis=1)

    def _free(self, name: str) -> str:
        """That name, unless a column has it."""
        while name in self._taken:
            name += "_"
        self._taken.add(name)
        return name


def create_value_info(name: str, kind: int, *columns: int) -> onnx.ValueInfoProto:
    """An input or output: any number of rows, and so many columns."""
    return helper.make_tensor_value_info(name, kind, ["N", *columns])


FLOAT, DOUBLE, INT8, INT64, STRING = (
    TensorProto.FLOAT,
    TensorProto.DOUBLE,
    TensorProto.INT8,
    TensorProto.INT64,
    TensorProto.STRING,
)
