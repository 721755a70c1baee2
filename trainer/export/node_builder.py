"""The nodes and constants of an ONNX graph while it is built."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

FLOAT, DOUBLE, INT8, INT64, STRING = (
    TensorProto.FLOAT,
    TensorProto.DOUBLE,
    TensorProto.INT8,
    TensorProto.INT64,
    TensorProto.STRING,
)


class NodeBuilder:
    """Collects the nodes and constants of a graph and gives each value a unique name.

    Args:
        reserved_names: Names of the graph's inputs, which come from columns, and of its outputs.

    Attributes:
        nodes: Nodes in the order in which they were added.
        constants: Constants in the order in which they were added.
    """

    def __init__(self, reserved_names: Collection[str]) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self._used_names = set(reserved_names)
        self._shared_constants: dict[str, str] = {}

    def add_constant(self, name: str, array: NDArray[Any]) -> str:
        """Add a constant and return its name.

        Args:
            name: Name of the constant, unless it is in use.
            array: Value of the constant; texts have the dtype object.
        """
        name = self._create_unique_name(name)
        self.constants.append(numpy_helper.from_array(np.asarray(array, order="C"), name))
        return name

    def add_shared_constant(self, name: str, array: NDArray[Any]) -> str:
        """Add a constant unless one was added under this name, and return its name."""
        if name not in self._shared_constants:
            self._shared_constants[name] = self.add_constant(name, array)
        return self._shared_constants[name]

    def add_node(self, operator: str, inputs: list[str], output: str, **attributes: Any) -> str:
        """Add a node with one output and return the name of the output.

        Args:
            operator: ONNX operator.
            inputs: Names of the inputs.
            output: Name of the output, unless it is in use.
            **attributes: Attributes of the operator.
        """
        return self.add_multi_output_node(operator, inputs, [output], **attributes)[0]

    def add_multi_output_node(
        self, operator: str, inputs: list[str], outputs: list[str], **attributes: Any
    ) -> list[str]:
        """Add a node with several outputs and return their names; see `add_node`."""
        names = [self._create_unique_name(output) for output in outputs]
        self.nodes.append(
            helper.make_node(operator, inputs, names, name=f"{operator}_{names[0]}", **attributes)
        )
        return names

    def add_output_node(
        self, operator: str, inputs: list[str], output: str, **attributes: Any
    ) -> str:
        """Add a node that computes an output of the graph, and return the output's name."""
        self.nodes.append(
            helper.make_node(operator, inputs, [output], name=f"{operator}_{output}", **attributes)
        )
        return output

    def flatten(self, value: str) -> str:
        """Reshape a column `[N, 1]` to `[N]`."""
        shape = self.add_constant(f"shape_{value}", np.array([-1]))
        return self.add_node("Reshape", [value, shape], f"{value}_flat")

    def concatenate(self, values: list[str], output: str) -> str:
        """Concatenate matrices along their columns; a single one is returned as it is."""
        if len(values) == 1:
            return values[0]
        return self.add_node("Concat", values, output, axis=1)

    def _create_unique_name(self, name: str) -> str:
        while name in self._used_names:
            name += "_"
        self._used_names.add(name)
        return name


def create_value_info(name: str, element_type: int, *columns: int) -> onnx.ValueInfoProto:
    """Return the description of an input or output of a graph.

    Args:
        name: Name of the input or output.
        element_type: ONNX type of its elements.
        *columns: Number of columns; nothing if it is a vector.
    """
    return helper.make_tensor_value_info(name, element_type, ["N", *columns])
