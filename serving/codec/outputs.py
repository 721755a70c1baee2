"""Outputs: which of the graph's answers a client asks for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from serving.bundle import Arrays
from serving.codec.quoting import describe_value, quote_text
from serving.codec.validation import refuse_instances

MAX_OUTPUTS = 16  # names; no graph has so many outputs


def parse_requested_outputs(parameters: Any) -> tuple[str, ...]:
    """The names in `{"outputs": [name, …]}`; none for all there are.

    Args:
        parameters: of a body, any JSON.

    Raises:
        InvalidInstancesError: they are of another form.
    """
    if parameters is None:
        return ()
    if not isinstance(parameters, dict) or not parameters.keys() <= {"outputs"}:
        refuse_instances(
            'expected "parameters" to be an object of the key "outputs" alone, a list of names; '
            f"got {_describe_json(parameters)}"
        )
    names = parameters.get("outputs")
    if names is None:
        return ()
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        refuse_instances(f'expected "outputs" to be a list of names; got {_describe_json(names)}')
    return require_distinct_outputs(names)


def require_distinct_outputs(names: Sequence[str]) -> tuple[str, ...]:
    """The same names, at least one and each once.

    Raises:
        InvalidInstancesError: one comes twice, or there is none.
    """
    if not 0 < len(names) <= MAX_OUTPUTS:
        refuse_instances(
            f'expected "outputs" to name at least one output, each once; got {len(names)} names'
        )
    for place, name in enumerate(names):
        if name in names[:place]:
            refuse_instances(
                f"expected every output once; got {quote_text(name)} twice", output=name[:40]
            )
    return tuple(names)


def select_outputs(outputs: Arrays, names: Sequence[str]) -> Arrays:
    """Those of the graph's outputs that are asked for, in the order they are asked for.

    Args:
        outputs: of the graph, by name.
        names: that are asked for; none for all.

    Raises:
        InvalidInstancesError: the graph has no such output.
    """
    for name in names:
        if name not in outputs:
            refuse_instances(
                f"expected outputs out of {', '.join(outputs)}; got {quote_text(name)}",
                output=name[:40],
            )
    return {name: outputs[name] for name in names} if names else outputs


def _describe_json(value: Any) -> str:
    if isinstance(value, dict):
        return f"an object of {', '.join(map(quote_text, list(value)[:3])) or 'nothing'}"
    return "a list" if isinstance(value, list) else describe_value(value)
