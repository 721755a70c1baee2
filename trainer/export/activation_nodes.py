"""The nodes of activations: one operator, or several if the opset has none."""

from __future__ import annotations

import math

import numpy as np

from trainer.export.node_builder import NodeBuilder
from trainer.nn import (
    ELU,
    GELU,
    SELU,
    Activation,
    Identity,
    LeakyReLU,
    ReLU,
    Sigmoid,
    Softplus,
    Swish,
    Tanh,
)


def add_activation(  # noqa: PLR0911 - one return for each activation
    graph: NodeBuilder, activation: Activation, z: str, suffix: str
) -> str:
    """Add the nodes of an activation and return the name of its output.

    Args:
        graph: The graph under construction.
        activation: The activation.
        z: Name of its input.
        suffix: Suffix of the names of the added values.

    Raises:
        TypeError: If there are no nodes for the activation.
    """
    a = f"a{suffix}"
    match activation:
        case Identity():
            return z
        case Sigmoid() | Tanh() | Softplus():
            return graph.add_node(type(activation).__name__, [z], a)
        case ReLU():
            return graph.add_node("Relu", [z], a)
        case LeakyReLU():
            return graph.add_node("LeakyRelu", [z], a, alpha=activation.alpha)
        case SELU():
            return graph.add_node("Selu", [z], a, alpha=activation.alpha, gamma=activation.scale)
        case ELU():
            return graph.add_node("Elu", [z], a, alpha=activation.alpha)
        case Swish():
            gate = graph.add_node("Sigmoid", [z], f"gate{suffix}")
            return graph.add_node("Mul", [z, gate], a)
        case GELU():
            return _add_gelu(graph, z, suffix)
        case _:
            raise TypeError(f"expected an activation with an ONNX form; got {activation!r}")


def _add_gelu(graph: NodeBuilder, z: str, suffix: str) -> str:
    """Add z · (1 + erf(z / √2)) / 2. ONNX has an operator for it from opset 20 on."""
    root, one, half = (
        graph.add_constant(f"{name}{suffix}", np.asarray(number, np.float32))
        for name, number in (("root", math.sqrt(0.5)), ("one", 1), ("half", 0.5))
    )
    x = graph.add_node("Mul", [z, root], f"x{suffix}")
    erf = graph.add_node("Erf", [x], f"erf{suffix}")
    phi = graph.add_node("Add", [erf, one], f"phi{suffix}")
    doubled = graph.add_node("Mul", [z, phi], f"twice{suffix}")
    return graph.add_node("Mul", [doubled, half], f"a{suffix}")
