"""Every choice of a compression, declared once."""

from __future__ import annotations

import math
from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    model_validator,
)

Share = Annotated[float, Field(gt=0, lt=1)]


def _a_metric(value: str) -> str:
    if value not in METRICS:
        raise ValueError(f"expected one of {', '.join(METRICS)}")
    return value


def _a_prune(value: object) -> object:
    if value in ("auto", "none"):
        return value
    try:
        share = float(str(value))
    except ValueError:
        share = math.nan
    if not 0 < share < 1:
        raise ValueError("expected auto, none, or a share of the weights between 0 and 1")
    return share


# Of which more is better.
METRICS = (
    "accuracy",
    "balanced_accuracy",
    "f1",
    "precision",
    "recall",
    "positive_f1",
    "positive_precision",
    "positive_recall",
    "roc_auc",
    "pr_auc",
    "r2",
)


class CompressionConfigError(ValueError):
    """The goal is none for this model; the message says why."""


class CompressionConfig(BaseModel):
    """What may be given up, and what is to be tried for it; each is an option of `compress`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    max_drop: float = Field(
        0.002, ge=0, lt=1, description="by how much the metric may drop on the validation rows"
    )
    metric: Annotated[str, AfterValidator(_a_metric)] | None = Field(
        None, description=f"out of {', '.join(METRICS)} [the one that led the training]"
    )
    prune: Annotated[Literal["auto", "none"] | float, BeforeValidator(_a_prune)] = Field(
        "auto",
        description="share of the weights to remove by whole units and inputs, say 0.9; auto: as "
        "many as the budget allows; or none",
    )
    int8: bool = Field(True, description="variants that compute in bytes")
    qat: bool = Field(
        False, description="train every variant in bytes with its rounding, even if it does without"
    )
    reduce_range: bool | None = Field(
        None,
        description="weights of 7 bits, not 8, in `int8` and `pruned-int8`: processors without "
        "VNNI answer those of 8 wrongly [where this processor does]",
    )
    sparse: Share | None = Field(
        None,
        description="also set this share of single weights to 0: saves compressed size only [none]",
    )
    epochs: int = Field(30, ge=1, description="passes over the training rows after each step")
    learning_rate: float = Field(0.006, gt=0, description="of Adam, at its largest")
    batch_size: int = Field(128, ge=1, description="rows per step")
    seed: int = Field(0, ge=0, lt=2**32, description="of the order of rows and their blends")

    @model_validator(mode="after")
    def _something(self) -> CompressionConfig:
        if not self.int8 and self.qat:
            raise ValueError(
                "qat: expected int8 with qat, which trains it; got no int8; leave one out"
            )
        if not self.int8 and self.prune == "none" and self.sparse is None:
            raise ValueError(
                "prune: expected something to try; got neither int8 nor prune nor sparse"
            )
        return self
