"""The grid: which values each choice may take, and how they are gone through, from a TOML file."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import fields as fields_of
from pathlib import Path
from typing import Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from serving.bundle import suggest_name
from trainer.config import Config
from trainer.data.read_options import ReadOptions
from trainer.option_errors import list_option_errors
from trainer.search.candidates import RefusedError

# What the data are, which rows the model is judged on, and where things are written is not
# searched for.
FIXED = {
    *(field.name for field in fields_of(ReadOptions)),
    *("data", "name", "models", "runs", "test", "seed", "positive", "skip_baselines"),
}
SEARCHED = tuple(name for name in Config.model_fields if name not in FIXED)


class SearchPlan(BaseModel):
    """The table `[search]` of the file: how the candidates are gone through."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    method: Literal["grid", "random", "halving"] = Field(
        "grid",
        description="grid: all combinations; random: randomly drawn ones; or halving: all with few "
        "epochs, then the best with more [grid]",
    )
    trials: int | None = Field(None, ge=1, description="for random: number of combinations [20]")
    factor: int | None = Field(
        None,
        ge=2,
        description="for halving: factor by which each round has fewer combinations and more "
        "epochs [3]",
    )
    metric: str | None = Field(
        None, description="metric that is maximized [the main metric of the task]"
    )

    @model_validator(mode="after")
    def _fitting(self) -> SearchPlan:
        for name, method in (("trials", "random"), ("factor", "halving")):
            if getattr(self, name) is not None and self.method != method:
                raise ValueError(
                    f"{name}: expected the method {method} for {name}; got {self.method}; leave it "
                    f"out"
                )
        return self


Engine = Literal["local"]
ENGINES: tuple[Engine, ...] = get_args(Engine)
LARGEST = 2**53  # from here on not every whole number is a float64


@dataclass(frozen=True)
class Range:
    """Values between two, as scikit-learn's samplers draw them.

    Attributes:
        low: the least; whole numbers are drawn if both ends are whole.
        high: the greatest.
        log: every order of magnitude alike, not every value.
    """

    low: float
    high: float
    log: bool = False

    def rvs(self, *, random_state: Any = None) -> float:
        """One value."""
        from scipy import stats  # noqa: PLC0415 - slow to import

        whole = isinstance(self.low, int) and isinstance(self.high, int)
        if self.log:
            drawn = stats.loguniform.rvs(self.low, self.high, random_state=random_state)
        elif whole:
            drawn = stats.randint.rvs(self.low, self.high + 1, random_state=random_state)
        else:
            drawn = stats.uniform.rvs(self.low, self.high - self.low, random_state=random_state)
        return round(drawn) if whole else float(drawn)


@dataclass(frozen=True)
class Grid:
    """What is searched.

    Attributes:
        plan: how.
        values: by choice, the values it may take, or from where to where.
    """

    plan: SearchPlan
    values: Mapping[str, list[Any] | Range]

    def candidates(self, seed: int) -> list[dict[str, Any]]:
        """Every combination or, at random, the very ones that the search will draw."""
        from sklearn.model_selection import ParameterGrid, ParameterSampler  # noqa: PLC0415 - slow to import

        if self.plan.method != "random":
            return list(ParameterGrid(dict(self.values)))
        return list(ParameterSampler(dict(self.values), self.trials, random_state=seed))

    @property
    def trials(self) -> int:
        """Candidates to draw at random: no more than there are different ones."""
        asked = self.plan.trials or 20
        counts = [len(v) if isinstance(v, list) else math.inf for v in self.values.values()]
        return int(min(asked, math.prod(counts)))


def read_grid(path: Path) -> Grid:
    """The grid of a TOML file: keys of `Config` with lists of values, and `[search]`.

    Where the method is random a table `{low = 0.0001, high = 0.1, log = true}` may stand for a
    list. Whether `Config` takes the values is not looked at here.

    Raises:
        OSError: the file cannot be read.
        RefusedError: it is not such a file; says where.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RefusedError(f"{path}: expected a TOML file; {error}") from error
    try:
        plan = SearchPlan.model_validate(content.pop("search", {}))
    except ValidationError as error:
        raise RefusedError(
            f"{path}, [search]: {list_option_errors(error, SearchPlan, str)}"
        ) from error
    content = {name.replace("-", "_"): value for name, value in content.items()}
    for name in content:
        if name not in SEARCHED:
            raise RefusedError(
                f"{path}: expected keys out of {', '.join(SEARCHED)}; got {name!r}"
                f"{suggest_name(name, SEARCHED)}"
            )
    if not content:
        raise RefusedError(f"{path}: expected keys with lists of values; got none")
    if plan.method == "halving" and "epochs" in content:
        raise RefusedError(
            f"{path}: expected no epochs to choose among, which is what halving shares out; got "
            f"{content['epochs']}; leave them out"
        )
    values = {name: _values(f"{path}, {name}", plan, v) for name, v in content.items()}
    return Grid(plan, values)


def _values(where: str, plan: SearchPlan, value: Any) -> list[Any] | Range:
    if isinstance(value, dict):
        if plan.method != "random":
            raise RefusedError(
                f"{where}: expected a list of values; got a range; list them, or choose the method "
                f"random"
            )
        return _range(where, value)
    if not isinstance(value, list) or not value:
        raise RefusedError(f"{where}: expected a list of values, one or more; got {value!r}")
    return value


def _range(where: str, value: Mapping[str, Any]) -> Range:
    ends, log = [value.get("low"), value.get("high")], value.get("log", False)
    numbers = all(
        isinstance(end, int | float) and not isinstance(end, bool) and math.isfinite(end)
        for end in ends
    )
    if value.keys() - {"low", "high", "log"} or not numbers or not isinstance(log, bool):
        raise RefusedError(
            f"{where}: expected a range {{low = NUMBER, high = NUMBER, log = true or false}}; got "
            f"{dict(value)!r}"
        )
    found = Range(value["low"], value["high"], log)
    if max(abs(found.low), abs(found.high)) > LARGEST:
        raise RefusedError(
            f"{where}: expected a range within ±2^53; got {found.low} to {found.high}"
        )
    if found.low >= found.high or (log and found.low <= 0):
        raise RefusedError(
            f"{where}: expected low below high{', and both above 0' if log else ''}; got "
            f"{found.low} and {found.high}"
        )
    return found
