"""Every choice of a training run, declared once, and the parts each choice stands for."""

from __future__ import annotations

import shlex
from collections.abc import Collection
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    model_validator,
)

from serving.bundle import Name, find_positive_index
from trainer.data.column_names import split_names
from trainer.data.preprocess import Encoding, Scaling
from trainer.data.read_options import ReadOptions, split_date_format
from trainer.data.tables import DataError, Task
from trainer.evaluate.threshold import ThresholdObjective
from trainer.nn import (
    ACTIVATIONS,
    INITIALIZERS,
    LOSSES,
    OPTIMIZERS,
    SCHEDULES,
    BatchNorm,
    BinaryCrossEntropy,
    CategoricalCrossEntropy,
    Dense,
    Dropout,
    Layer,
    Loss,
    MaxNorm,
    Penalty,
    WeightAverage,
)
from trainer.training.update import UpdateRule

VALUE_LOSSES = ("mse", "mae", "huber", "poisson")


def _listed(value: object) -> object:
    """Lists as people write them: `64,32`, `64`, or a list."""
    if isinstance(value, str):
        return [part.strip() for part in value.split(",") if part.strip()]
    return [value] if isinstance(value, int) else value


def _one_of(names: Collection[str]) -> AfterValidator:
    def check(value: str) -> str:
        if value not in names:
            raise ValueError(f"expected one of {', '.join(names)}")
        return value

    return AfterValidator(check)


def _an_aim(value: str) -> str:
    ThresholdObjective.parse(value)
    return value


def _formats(value: object) -> object:
    """Each as it is: a format may have commas."""
    return [value] if isinstance(value, str) else value


def _a_format(value: str) -> str:
    split_date_format(value)
    return value


Formats = Annotated[
    tuple[Annotated[str, AfterValidator(_a_format)], ...], BeforeValidator(_formats)
]


def _a_name(value: object) -> object:
    """A class as people write it in TOML: 1 or true as well as a text."""
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if isinstance(value, int) else value


def _column_names(value: object) -> object:
    """Names of columns as people list them: `a,b`, `"Revenue, USD",id`, or a list."""
    return split_names(value) if isinstance(value, str) else value


def _named(value: object) -> object:
    """Names for columns, of which a last comma is none."""
    return [name for name in split_names(value) if name] if isinstance(value, str) else value


def _a_delimiter(value: str) -> str:
    sign = "\t" if value in ("tab", "\\t") else value
    if len(sign) != 1 or not sign.isascii() or sign in '"\r\n\0':
        raise ValueError("expected one character such as ; or the word tab")
    return sign


def _a_decimal(value: str) -> str:
    if value not in (".", ","):
        raise ValueError("expected a point or a comma")
    return value


def _an_encoding(value: str) -> str:
    try:
        "a,1\n".encode(value)
    except (LookupError, ValueError) as error:
        raise ValueError("expected an encoding such as utf-8, utf-16, cp1252 or latin-1") from error
    return value


Columns = Annotated[tuple[str, ...], BeforeValidator(_column_names)]
Delimiter = Annotated[str, AfterValidator(_a_delimiter)]
Decimal = Annotated[str, AfterValidator(_a_decimal)]
TextEncoding = Annotated[str, AfterValidator(_an_encoding)]


class Config(BaseModel):
    """A TOML file of these keys is what `--config` takes; each is an option of `trainer fit`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    data: str = Field(min_length=1)
    target: str | None = Field(None, description="column to predict, in a CSV file [the last]")
    task: Literal["classification", "regression"] | None = Field(
        None, description="classification or regression [inferred from the target]"
    )
    names: Annotated[tuple[str, ...], BeforeValidator(_named)] = Field(
        (), description="names of the columns of a file without a header: a,b"
    )
    drop: Columns = Field((), description="columns to leave out, separated by commas: a,b")
    number: Columns = Field(
        (),
        description="columns that are numbers, whatever they look like; they are read in float32",
    )
    precise: Columns = Field(
        (),
        description="columns that are numbers to be read in float64, each an input of its own "
        "[where float32 would lose more than 1 % of the different values]",
    )
    boolean: Columns = Field((), description="columns that are true or false")
    category: Columns = Field((), description="columns that are categories")
    date: Columns = Field(
        (),
        description="columns that are dates: ISO 8601, 20230318, or numbers of seconds, "
        "milliseconds, microseconds or nanoseconds since 1970",
    )
    date_format: Formats = Field(
        (),
        description="format of dates that are not in ISO 8601: COLUMN=FORMAT, or one FORMAT for "
        "all columns of --date, with the directives of strptime, such as joined=%d/%m/%Y; may be "
        "given several times",
    )
    missing: Columns | None = Field(
        None,
        description="texts of a CSV file that mean a missing value, separated by commas, in upper "
        "or lower case; the empty cell always does; '' for no others "
        "[na, n/a, #n/a, <na>, nan, nat, null, none, ?]",
    )
    group: str | None = Field(
        None, description="column that says which rows belong together; no feature [none do]"
    )
    time: str | None = Field(
        None, description="column by which later rows are kept to judge the model on [none]"
    )
    delimiter: Delimiter | None = Field(
        None, description="character between the cells of a CSV file, or tab [a comma]"
    )
    decimal: Decimal | None = Field(
        None,
        description="decimal sign of the numbers in a CSV file: . or , and with it thousands "
        "separators are read too, 1,234.56 or 1.234,56 [a point, no thousands separators]",
    )
    encoding: TextEncoding | None = Field(
        None, description="encoding of a CSV file, such as cp1252, latin-1 or utf-16 [utf-8]"
    )
    name: Name | None = Field(None, description="the model's name [that of the data]")
    models: Path = Field(Path("models"), description="the repository to write to")
    runs: Path = Field(
        Path("runs"), description="where the run is kept, for its report; never served"
    )
    scaling: Scaling = Field(
        "standard", description="of the numbers, column by column or, by range, all alike (pixels)"
    )
    rare: int = Field(
        10, ge=1, description="texts in fewer training rows than this are answered as unseen ones"
    )
    one_hot: int = Field(
        32, ge=2, description="categories of more texts than this get a learned embedding"
    )
    unseen: Literal["unknown", "refuse"] = Field(
        "unknown", description="a text that is none of its category's, when the model is served"
    )
    gaps: Literal["as_trained", "impute", "refuse"] = Field(
        "as_trained",
        description="in a record, when the model is served: filled where the data have gaps, "
        "filled in every column, or refused",
    )
    hidden: Annotated[tuple[Annotated[int, Field(ge=1)], ...], BeforeValidator(_listed)] = Field(
        (256,), description="units of the hidden layers, in order: 64,32"
    )
    activation: Annotated[
        tuple[Annotated[str, _one_of(ACTIVATIONS)], ...], BeforeValidator(_listed)
    ] = Field(
        ("relu",),
        min_length=1,
        description=f"of the hidden layers, one for all or one each: {', '.join(ACTIVATIONS)}",
    )
    initializer: Annotated[str, _one_of(INITIALIZERS)] | None = Field(
        None,
        description="of the hidden layers' weights [what suits the activation]: "
        f"{', '.join(INITIALIZERS)}",
    )
    dropout: float = Field(
        0, ge=0, lt=1, description="share of each hidden layer's units dropped in training"
    )
    input_dropout: float = Field(
        0, ge=0, lt=1, description="share of the features dropped in training"
    )
    batch_norm: bool = Field(False, description="normalise each hidden layer over the batch")
    loss: Annotated[str, _one_of(VALUE_LOSSES)] = Field(
        "mse", description=f"for regression: {', '.join(VALUE_LOSSES)}"
    )
    target_scaling: Literal["standard", "log"] = Field(
        "standard", description="for regression: of values, or of their logarithms (prices)"
    )
    label_smoothing: float = Field(0, ge=0, lt=1, description="for classes: share of certainty")
    class_weight: Literal["balanced"] | None = Field(
        None,
        description="balanced: rare classes count as much as common ones; probabilities are then "
        "true with --calibrate only [each row alike]",
    )
    positive: Annotated[str, BeforeValidator(_a_name)] | None = Field(
        None,
        description="for two classes: the positive one, which the threshold, --aim, precision, "
        "recall and ROC AUC refer to [1, true, t, yes, y or on; with other names the second in "
        "sorted order, and --aim is refused]",
    )
    aim: Annotated[str, AfterValidator(_an_aim)] | None = Field(
        None,
        description="for two classes: choose the threshold on the validation rows for f1, "
        "balanced_accuracy, accuracy, recall@precision=0.9, precision@recall=0.8 or "
        "cost=FALSE_POSITIVE:FALSE_NEGATIVE [the threshold 0.5]",
    )
    calibrate: bool = Field(
        False,
        description="fit a temperature and a bias of the logits on the validation rows; with two "
        "classes and --class-weight the threshold is then the positive class's share of the rows",
    )
    optimizer: Annotated[str, _one_of(OPTIMIZERS)] = Field(
        "adam", description=f"how weights are updated: {', '.join(OPTIMIZERS)}"
    )
    learning_rate: float = Field(0.001, gt=0, description="size of a step")
    schedule: Annotated[str, _one_of(SCHEDULES)] = Field(
        "constant", description=f"of the learning rate: {', '.join(SCHEDULES)}"
    )
    l1: float = Field(0, ge=0, description="penalty on the weights' absolute values")
    l2: float = Field(0, ge=0, description="penalty on half their squares")
    weight_decay: float = Field(0, ge=0, description="decay apart from the gradient: adamw's")
    clip_norm: float | None = Field(None, gt=0, description="longest gradient [any]")
    clip_value: float | None = Field(None, gt=0, description="largest entry of a gradient [any]")
    max_norm: float | None = Field(None, gt=0, description="bound on a unit's weights [none]")
    average: float = Field(0, ge=0, lt=1, description="decay of the weights' moving average")
    batch_size: int = Field(32, ge=1, description="rows per step")
    epochs: int = Field(200, ge=1, description="the most passes over the training rows")
    patience: int = Field(20, ge=1, description="epochs without a better validation loss")
    validation: float = Field(0.1, gt=0, lt=0.5, description="share of rows to stop early by")
    test: float = Field(0.2, gt=0, lt=0.5, description="share of rows to judge the model on")
    skip_baselines: bool = Field(False, description="train no baselines beside it")
    seed: int = Field(
        0, ge=0, lt=2**32, description="of the split, the weights and the order of rows"
    )

    @model_validator(mode="after")
    def _fitting(self) -> Config:
        self.reading().map_date_formats()  # which of them are of which column
        if len(self.activation) not in (1, len(self.hidden)):
            raise ValueError(
                f"activation: expected one activation for all hidden layers, or one for each of "
                f"the {len(self.hidden)}; got {len(self.activation)}"
            )
        if self.weight_decay and self.optimizer != "adamw":
            raise ValueError(
                f"weight_decay: expected the optimizer adamw for a weight decay; got "
                f"{self.optimizer}; choose it, or l2 instead"
            )
        if self.target_scaling == "log" and self.loss == "poisson":
            raise ValueError(
                "target_scaling: expected no logarithm of the target for the loss poisson, "
                "which takes one itself; got log; leave it out"
            )
        if self.batch_norm and self.batch_size < 2:
            raise ValueError("batch_size: expected at least 2 for batch norm; got 1")
        return self

    def reading(self) -> ReadOptions:
        """How the data are to be read."""
        asked = {f.name for f in fields(ReadOptions)} & set(Config.model_fields)
        return ReadOptions(**{name: getattr(self, name) for name in asked})

    def feature_encoding(self) -> Encoding:
        """How columns are to be encoded."""
        # What is refused when it is served must not be merged in training.
        rare = 1 if self.unseen == "refuse" else self.rare
        return Encoding(self.scaling, rare, self.one_hot, fill_all=self.gaps == "impute")

    def layers(self, n_outputs: int) -> list[Layer]:
        """The network's layers, fresh ones, for so many logits."""
        activations = self.activation * (len(self.hidden) if len(self.activation) == 1 else 1)
        layers: list[Layer] = [Dropout(self.input_dropout)] if self.input_dropout else []
        for units, activation in zip(self.hidden, activations, strict=True):
            if self.batch_norm:
                layers += [Dense(units, initializer=self.initializer), BatchNorm(activation)]
            else:
                layers.append(Dense(units, activation, initializer=self.initializer))
            if self.dropout:
                layers.append(Dropout(self.dropout))
        return [*layers, Dense(n_outputs)]

    def loss_for(self, task: Task) -> Loss:
        """The loss that fits the task.

        Raises:
            DataError: If an option is for another task.
        """
        if self.aim and task != "binary":
            raise DataError(
                f"expected two classes for the aim {self.aim}; got a {task} task; leave it out"
            )
        if self.positive is not None and task != "binary":
            raise DataError(
                f"expected two classes for the positive class {self.positive}; got a {task} task; "
                f"leave it out"
            )
        if task == "regression":
            if self.class_weight or self.label_smoothing or self.calibrate:
                raise DataError(
                    "expected classes for class_weight, label_smoothing and calibrate; got values "
                    "to regress on; leave them out"
                )
            return LOSSES[self.loss]()
        if self.target_scaling != "standard":
            raise DataError(
                "expected values to regress on for target_scaling; got classes; leave it out"
            )
        if self.loss != "mse":
            raise DataError(
                f"expected values to regress on for the loss {self.loss}; got classes; leave it out"
            )
        kind = BinaryCrossEntropy if task == "binary" else CategoricalCrossEntropy
        return kind(self.label_smoothing)

    def positive_among(self, classes: list[int] | list[str]) -> int:
        """Place of the positive class among the two classes of a binary task.

        Args:
            classes: Both, in the order of the model's.

        Raises:
            DataError: If `positive` is neither, or if an aim is given and nothing says which of
                them it is for.
        """
        try:
            found = find_positive_index(classes, self.positive)
        except ValueError as error:
            raise DataError(f"--positive: {error}") from error
        if found is None and self.aim:
            first, second = classes
            raise DataError(
                f"expected to know which class the aim {self.aim} is for; got {first} and "
                f"{second}; say --positive {shlex.quote(str(first))} or --positive "
                f"{shlex.quote(str(second))}"
            )
        return 1 if found is None else found

    def update(self) -> UpdateRule:
        """What happens to the network between two batches, fresh."""
        options: dict[str, Any] = (
            {"weight_decay": self.weight_decay} if self.optimizer == "adamw" else {}
        )
        return UpdateRule(
            OPTIMIZERS[self.optimizer](self.learning_rate, **options),
            schedule=SCHEDULES[self.schedule](),
            penalty=Penalty(self.l1, self.l2) if self.l1 or self.l2 else None,
            clip_norm=self.clip_norm,
            clip_value=self.clip_value,
            max_norm=None if self.max_norm is None else MaxNorm(self.max_norm),
            average=WeightAverage(self.average) if self.average else None,
        )
