"""Candidates: combinations of option values that a search tries, and their scores."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from trainer.config import Config
from trainer.data.tables import DataError, Task
from trainer.option_errors import list_option_errors


class InvalidSearchError(ValueError):
    """A search that cannot be run as it was asked for, so that nothing was run.

    The message says where the mistake is and what to do.
    """


@dataclass(frozen=True)
class Candidate:
    """One combination of option values, and its scores.

    Attributes:
        parameters: Values of the options that are searched, by the option's name.
        scores: The metric of the search on each fold; NaN if the training diverged.
        mean: Mean of the scores.
        deviation: Standard deviation of the scores, as the root of their mean squared deviation.
        epochs: Largest number of epochs that it was trained for, if the method is halving; else
            None.
        metrics: Mean over the folds of every metric that is defined on all of them, by name.
    """

    parameters: dict[str, Any]
    scores: tuple[float, ...]
    mean: float
    deviation: float
    epochs: int | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)


def format_parameters(parameters: Mapping[str, Any]) -> str:
    """Return parameters in one line, such as `hidden=64,32 learning_rate=0.01`."""
    return " ".join(f"{name}={_format_value(value)}" for name, value in parameters.items())


def _format_value(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ",".join(map(_format_value, value))
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def apply_parameters(config: Config, parameters: Mapping[str, Any]) -> Config:
    """Return the options with the values of a candidate.

    Args:
        config: Every option.
        parameters: Values of a candidate, which replace those of `config`.

    Raises:
        InvalidSearchError: If an option does not accept its value.
    """
    try:
        return Config.model_validate(config.model_dump(exclude_unset=True) | dict(parameters))
    except ValidationError as error:
        problems = list_option_errors(error, Config, str)
        raise InvalidSearchError(
            f"candidate {format_parameters(parameters)}: {problems}"
        ) from error


def require_matching_task(
    config: Config,
    parameters: Mapping[str, Any],
    task: Task,
    classes: list[int] | list[str] | None = None,
) -> None:
    """Refuse a candidate with options of another task.

    Args:
        config: Every option.
        parameters: Values of the candidate, which replace those of `config`.
        task: Task of the table.
        classes: Both classes of a binary task; None if the positive class is not checked.

    Raises:
        DataError: If an option is of another task, or no class is the positive one. The message
            names the candidate.
    """
    try:
        candidate_config = apply_parameters(config, parameters)
        candidate_config.build_loss(task)
        if task == "binary" and classes is not None:
            candidate_config.find_positive_index(classes)
    except DataError as error:
        raise DataError(f"candidate {format_parameters(parameters)}: {error}") from error
