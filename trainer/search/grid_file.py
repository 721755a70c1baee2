"""The TOML file of a search: which keys it may have, and the grid of values that it describes.

    hidden = [[64], [128, 64]]                                  # an option, and the values to try
    learning_rate = {low = 1e-4, high = 0.1, log = true}        # a range, for the method random

    [search]                                                    # how the candidates are tried
    method = "random"
    trials = 30

The keys at the top are the options in `SEARCHABLE_OPTIONS`; those of `[search]` are the fields of
`SearchPlan`.
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import fields as dataclass_fields
from pathlib import Path
from typing import Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from serving.bundle import suggest_name
from trainer.config import Config
from trainer.data.read_options import ReadOptions
from trainer.option_errors import list_option_errors
from trainer.search.candidates import InvalidSearchError

# A search does not change what the data are, which rows test the model, and where files are
# written.
FIXED_OPTIONS = {
    *(field.name for field in dataclass_fields(ReadOptions)),
    *("data", "name", "models", "runs", "test", "seed", "positive", "skip_baselines"),
}
SEARCHABLE_OPTIONS = tuple(name for name in Config.model_fields if name not in FIXED_OPTIONS)
DEFAULT_TRIALS = 20
MAX_RANGE_END = 2**53  # Beyond it, not every integer is a float64.

Engine = Literal["local"]
ENGINES: tuple[Engine, ...] = get_args(Engine)


class SearchPlan(BaseModel):
    """The keys of the table `[search]`: how the candidates are tried."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    method: Literal["grid", "random", "halving"] = Field(
        "grid",
        description="grid: all combinations; random: a random sample of them; or halving: fewer "
        "and fewer candidates, trained for more and more epochs [grid]",
    )
    trials: int | None = Field(None, ge=1, description="random: number of candidates [20]")
    factor: int | None = Field(
        None,
        ge=2,
        description="halving: number by which each round divides the candidates and multiplies "
        "their epochs [3]",
    )
    metric: str | None = Field(
        None,
        description="metric by which the candidates are compared [the main metric of the task]",
    )

    @model_validator(mode="after")
    def _require_method_of_keys(self) -> SearchPlan:
        for name, method in (("trials", "random"), ("factor", "halving")):
            if getattr(self, name) is not None and self.method != method:
                raise ValueError(
                    f"{name}: expected the method {method} for {name}; got {self.method}; leave it "
                    f"out"
                )
        return self


@dataclass(frozen=True)
class Range:
    """A range of values, as a distribution for scikit-learn's samplers.

    Attributes:
        low: Lowest value. Integers are drawn if both ends are integers.
        high: Highest value.
        log: Whether the logarithm of the values is uniformly distributed. Default False.
    """

    low: float
    high: float
    log: bool = False

    def rvs(self, *, random_state: Any = None) -> float:
        """Return one random value. The name is that of SciPy's distributions."""
        from scipy import stats  # noqa: PLC0415 - slow to import

        is_integer = isinstance(self.low, int) and isinstance(self.high, int)
        if self.log:
            value = stats.loguniform.rvs(self.low, self.high, random_state=random_state)
        elif is_integer:
            value = stats.randint.rvs(self.low, self.high + 1, random_state=random_state)
        else:
            value = stats.uniform.rvs(self.low, self.high - self.low, random_state=random_state)
        return round(value) if is_integer else float(value)


@dataclass(frozen=True)
class Grid:
    """The values that a search tries.

    Attributes:
        plan: Method of the search and its settings.
        values: Values or range of each option, by its name.
    """

    plan: SearchPlan
    values: Mapping[str, list[Any] | Range]

    def list_candidates(self, seed: int) -> list[dict[str, Any]]:
        """Return the parameters of all candidates, those of a random search included.

        Args:
            seed: Random seed of the search, with which it draws the same candidates.
        """
        from sklearn.model_selection import ParameterGrid, ParameterSampler  # noqa: PLC0415 - slow to import

        if self.plan.method != "random":
            return list(ParameterGrid(dict(self.values)))
        return list(ParameterSampler(dict(self.values), self.n_trials, random_state=seed))

    @property
    def n_trials(self) -> int:
        """Number of candidates of a random search, at most the number of combinations."""
        counts = [len(v) if isinstance(v, list) else math.inf for v in self.values.values()]
        return int(min(self.plan.trials or DEFAULT_TRIALS, math.prod(counts)))


def read_grid(path: Path) -> Grid:
    """Return the grid of a TOML file. Whether the options accept the values is not checked.

    Raises:
        OSError: If the file cannot be read.
        InvalidSearchError: If the file is not TOML, has other keys, or a key has neither a list of
            values nor a range.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidSearchError(f"{path}: expected a TOML file; {error}") from error
    try:
        plan = SearchPlan.model_validate(content.pop("search", {}))
    except ValidationError as error:
        raise InvalidSearchError(
            f"{path}, [search]: {list_option_errors(error, SearchPlan, str)}"
        ) from error
    content = {name.replace("-", "_"): value for name, value in content.items()}
    for name in content:
        if name not in SEARCHABLE_OPTIONS:
            raise InvalidSearchError(
                f"{path}: expected keys out of {', '.join(SEARCHABLE_OPTIONS)}; got {name!r}"
                f"{suggest_name(name, SEARCHABLE_OPTIONS)}"
            )
    if not content:
        raise InvalidSearchError(
            f"{path}: expected keys with lists of values; got none; add one such as "
            f"learning_rate = [0.001, 0.01]"
        )
    if plan.method == "halving" and "epochs" in content:
        raise InvalidSearchError(
            f"{path}: expected no values of epochs, since halving chooses the number of epochs; "
            f"got {content['epochs']}; leave them out"
        )
    values = {name: _parse_values(f"{path}, {name}", plan, v) for name, v in content.items()}
    return Grid(plan, values)


def _parse_values(location: str, plan: SearchPlan, value: Any) -> list[Any] | Range:
    """Return the values or the range of a key.

    Args:
        location: File and key, for error messages.
        plan: Method of the search and its settings.
        value: Value of the key in the file.

    Raises:
        InvalidSearchError: If it is neither a list of values nor a range for the method random.
    """
    if isinstance(value, dict):
        if plan.method != "random":
            raise InvalidSearchError(
                f"{location}: expected a list of values; got a range; list the values, or choose "
                f"the method random"
            )
        return _parse_range(location, value)
    if not isinstance(value, list) or not value:
        raise InvalidSearchError(
            f"{location}: expected a list of values, one or more; got {value!r}"
        )
    return value


def _parse_range(location: str, value: Mapping[str, Any]) -> Range:
    ends, log = [value.get("low"), value.get("high")], value.get("log", False)
    are_numbers = all(
        isinstance(end, int | float) and not isinstance(end, bool) and math.isfinite(end)
        for end in ends
    )
    if value.keys() - {"low", "high", "log"} or not are_numbers or not isinstance(log, bool):
        raise InvalidSearchError(
            f"{location}: expected a range {{low = NUMBER, high = NUMBER, log = true or false}}; "
            f"got {dict(value)!r}"
        )
    parsed = Range(value["low"], value["high"], log)
    if max(abs(parsed.low), abs(parsed.high)) > MAX_RANGE_END:
        raise InvalidSearchError(
            f"{location}: expected a range within ±2^53; got {parsed.low} to {parsed.high}"
        )
    if parsed.low >= parsed.high or (log and parsed.low <= 0):
        raise InvalidSearchError(
            f"{location}: expected low below high{', and both above 0' if log else ''}; got "
            f"{parsed.low} and {parsed.high}"
        )
    return parsed
