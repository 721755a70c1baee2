"""Candidates: choices that are tried, and what came of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from trainer.config import Config
from trainer.data.tables import DataError, Task
from trainer.option_errors import list_option_errors


class RefusedError(ValueError):
    """The search was asked for wrongly; the message says where and what to do. Nothing was run."""


@dataclass(frozen=True)
class Candidate:
    """One combination of values, and its scores.

    Attributes:
        parameters: of it, by key of `Config`.
        scores: one a fold, of the metric searched by; NaN where training diverged.
        mean: of the scores.
        deviation: the standard deviation of the scores, divided by their number.
        epochs: it was last trained for, where they were shared out by halving; else None.
        metrics: Mean over the folds of every metric that all of them have, by name.
    """

    parameters: dict[str, Any]
    scores: tuple[float, ...]
    mean: float
    deviation: float
    epochs: int | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)


def format_choice(parameters: Mapping[str, Any]) -> str:
    """Parameters in a line: `hidden=64,32 learning_rate=0.01`."""
    return " ".join(f"{name}={_value(value)}" for name, value in parameters.items())


def _value(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ",".join(map(_value, value))
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def chosen(config: Config, parameters: Mapping[str, Any]) -> Config:
    """The configuration with these parameters in place of its own.

    Raises:
        RefusedError: it does not take them.
    """
    try:
        return Config.model_validate(config.model_dump() | dict(parameters))
    except ValidationError as error:
        found = list_option_errors(error, Config, str)
        raise RefusedError(f"candidate {format_choice(parameters)}: {found}") from error


def require_fitting(
    config: Config,
    parameters: Mapping[str, Any],
    task: Task,
    classes: list[int] | list[str] | None = None,
) -> None:
    """Refuse parameters that are of another task.

    Args:
        config: Every choice, where the candidate has none of its own.
        parameters: The candidate's own choices.
        task: Kind of the target.
        classes: Both classes of a binary task; None to leave it open which is positive.

    Raises:
        DataError: naming the candidate.
    """
    try:
        tried = chosen(config, parameters)
        tried.build_loss(task)
        if task == "binary" and classes is not None:
            tried.find_positive_index(classes)
    except DataError as error:
        raise DataError(f"candidate {format_choice(parameters)}: {error}") from error
