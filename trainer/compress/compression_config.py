"""The options of a compression. Each field is an option of `trainer compress`."""

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

# Metrics whose drop can be limited. Of each of them, more is better.
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
    """Options that do not fit the model or this processor. The message says which and why."""


def _validate_metric(value: str) -> str:
    if value not in METRICS:
        raise ValueError(f"expected one of {', '.join(METRICS)}")
    return value


def _parse_pruned_share(value: object) -> object:
    """Return "auto", "none" or a share of the weights, float, between 0 and 1."""
    if value in ("auto", "none"):
        return value
    try:
        share = float(str(value))
    except ValueError:
        share = math.nan
    if not 0 < share < 1:
        raise ValueError("expected auto, none, or a share of the weights between 0 and 1")
    return share


Share = Annotated[float, Field(gt=0, lt=1)]
Metric = Annotated[str, AfterValidator(_validate_metric)]
PrunedShare = Annotated[Literal["auto", "none"] | float, BeforeValidator(_parse_pruned_share)]


class CompressionConfig(BaseModel):
    """The options of a compression: how much the metric may drop, and which variants are tried."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    max_drop: float = Field(
        0.002, ge=0, lt=1, description="largest accepted drop of the metric on the validation rows"
    )
    metric: Metric | None = Field(
        None,
        description=f"metric whose drop is limited: {', '.join(METRICS)} [the main metric of the "
        "training]",
    )
    prune: PrunedShare = Field(
        "auto",
        description="share of the weights to remove as whole units and inputs, such as 0.9; auto: "
        "as many as --max-drop permits; none: no pruning",
    )
    int8: bool = Field(True, description="try variants with integer weights (INT8 and INT4)")
    qat: bool = Field(
        False,
        description="train every integer variant with quantization-aware training, also those that "
        "are accepted without it",
    )
    reduce_range: bool | None = Field(
        None,
        description="use weights of 7 bits instead of 8 in int8 and pruned-int8, since processors "
        "without VNNI compute those of 8 bits wrongly [7 bits if this processor does so, else 8]",
    )
    sparse: Share | None = Field(
        None,
        description="also try a variant with this share of single weights set to 0, which only "
        "makes the compressed file smaller [none]",
    )
    epochs: int = Field(
        30, ge=1, description="passes over the training rows after each pruning step"
    )
    learning_rate: float = Field(0.006, gt=0, description="highest learning rate of Adam")
    batch_size: int = Field(128, ge=1, description="rows per training step")
    seed: int = Field(
        0,
        ge=0,
        lt=2**32,
        description="seed of the order of the training rows, and of the mixtures of two rows",
    )

    @model_validator(mode="after")
    def _require_variants(self) -> CompressionConfig:
        if not self.int8 and self.qat:
            raise ValueError(
                "qat: expected int8 with qat, which trains integer variants; got no int8; leave "
                "one of the two options out"
            )
        if not self.int8 and self.prune == "none" and self.sparse is None:
            raise ValueError(
                "prune: expected at least one kind of variant to try; got neither int8 nor prune "
                "nor sparse; leave one of --no-int8 and --prune none out, or add --sparse"
            )
        return self
