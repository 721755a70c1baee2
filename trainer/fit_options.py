"""The options of a training run, one class for each group of `trainer fit --help`.

`trainer.config.Config` is the class with all of them. A description says what the option sets, its
choices and its unit. If the default is None, it ends with the meaning of that in brackets, such as
"[the last column]"; the help shows this, and all other defaults, as "[default: …]".
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from serving.bundle import Name
from trainer.config_types import (
    ActivationNames,
    Aim,
    ClassName,
    Columns,
    DateFormats,
    DecimalSign,
    Delimiter,
    HeaderNames,
    LayerWidths,
    TextEncoding,
    one_of,
)
from trainer.data.preprocess import Scaling
from trainer.nn import ACTIVATIONS, INITIALIZERS, OPTIMIZERS, SCHEDULES
from trainer.presets import Preset
from trainer.training.callbacks.early_stopping import Monitor

REGRESSION_LOSSES = ("mse", "mae", "huber", "poisson")
DATA_INITIALIZER = "data"  # name of the initialization from training rows


class Options(BaseModel):
    """Base of the groups: unknown names are refused, and values cannot be changed."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class DataOptions(Options):
    """What the data are, and how a file is read."""

    data: str = Field(min_length=1, description="Built-in data set or file")
    target: str | None = Field(None, description="Column to predict [the last column]")
    task: Literal["classification", "regression"] | None = Field(
        None,
        description="Task: classification or regression [classification if the target has texts, "
        "booleans or up to 20 different integers, else regression]",
    )
    names: HeaderNames = Field(
        (),
        description="Column names of a CSV file without a header, separated by commas "
        "[the first line of the file]",
    )
    drop: Columns = Field((), description="Columns to leave out, separated by commas [none]")
    number: Columns = Field(
        (),
        description="Columns to read as numbers in float32, even if their values look like "
        "something else [inferred]",
    )
    precise: Columns = Field(
        (),
        description="Columns to read as numbers in float64; each becomes an input of its own "
        "[columns of which float32 would merge more than 1 % of the different values]",
    )
    boolean: Columns = Field((), description="Columns to read as booleans [inferred]")
    category: Columns = Field((), description="Columns to read as categories [inferred]")
    date: Columns = Field(
        (),
        description="Columns to read as dates: texts in ISO 8601, such as 2023-03-18 or 20230318, "
        "or numbers of seconds, milliseconds, microseconds or nanoseconds since 1970 [inferred "
        "from texts]",
    )
    date_format: DateFormats = Field(
        (),
        description="Format of dates that are not in ISO 8601, in the directives of strptime: "
        "COLUMN=FORMAT such as joined=%d/%m/%Y, or one FORMAT for all columns of --date. Can be "
        "given several times [inferred]",
    )
    missing: Columns | None = Field(
        None,
        description="Texts of a CSV file that mean a missing value, separated by commas, in upper "
        "or lower case. An empty cell always means one; with '' no text does [na, n/a, #n/a, "
        "<na>, nan, nat, null, none, ?]",
    )
    group: str | None = Field(
        None,
        description="Column of groups, such as customers: rows of one group stay together when "
        "the data are split. It is not used as a feature [none]",
    )
    time: str | None = Field(
        None,
        description="Column of dates or numbers by which the data are split: the latest rows are "
        "the test rows [none, a random split]",
    )
    delimiter: Delimiter | None = Field(
        None, description="Delimiter of a CSV file: one character, or tab [a comma]"
    )
    decimal: DecimalSign | None = Field(
        None,
        description="Decimal sign in a CSV file: a point or a comma. If it is given, thousands "
        "separators are read too, as in 1,234.56 or 1.234,56 [a point, and no thousands "
        "separators]",
    )
    encoding: TextEncoding | None = Field(
        None,
        description="Encoding of a CSV file, such as cp1252, latin-1 or utf-16 [utf-8]",
    )


class PreprocessingOptions(Options):
    """How columns become inputs of the network, and what the served model accepts."""

    scaling: Scaling = Field(
        "standard",
        description="Scaling of numeric columns: standard (mean 0, standard deviation 1), minmax "
        "(0 to 1), robust (by median and quartiles), robust_clip (robust, then smoothly limited to "
        "±3; the default with --numbers pbld), quantile (to a normal distribution), or range (all "
        "columns together to 0 to 1, for pixels)",
    )
    numbers: Literal["scaled", "pbld"] = Field(
        "scaled",
        description="Encoding of numeric columns: scaled (the scaled value) or pbld (the scaled "
        "value and 3 learned periodic functions of it; --scaling is then robust_clip unless it is "
        "given). Columns read in float64 and dates get no such functions",
    )
    rare: int = Field(
        10,
        ge=1,
        description="Minimum number of training rows with a category; rarer categories are treated "
        "like those that training did not see",
    )
    one_hot: int = Field(
        32,
        ge=2,
        description="Maximum number of categories of a one-hot encoded column; columns with more "
        "get a learned embedding",
    )
    unseen: Literal["unknown", "refuse"] = Field(
        "unknown",
        description="Answer of the served model to a category that training did not see: unknown "
        "(predict, and treat all such categories alike) or refuse (an error)",
    )
    gaps: Literal["as_trained", "impute", "refuse"] = Field(
        "as_trained",
        description="What the served model does with missing values in requests: as_trained "
        "(impute them in columns that have missing values in the data, else an error), impute "
        "(impute them in all columns) or refuse (an error)",
    )
    target_scaling: Literal["standard", "log"] = Field(
        "standard",
        description="Scaling of the target, for regression: standard, or log (its logarithm is "
        "scaled; for prices and other positive amounts)",
    )


class NetworkOptions(Options):
    """Preset and architecture of the network."""

    preset: Preset = Field(
        "balanced",
        description="Set of values for the options that are not given: fast (one hidden layer), "
        "balanced (three hidden layers; all defaults in this help are those of balanced) or best "
        "(two networks with periodic embeddings of numbers, two to three times as slow as "
        "balanced)",
    )

    hidden: LayerWidths = Field(
        (128, 128, 128), description="Number of units in each hidden layer, for example 64,32"
    )
    activation: ActivationNames = Field(
        ("swish",),
        min_length=1,
        description="Activation of the hidden layers, one for all or one for each: "
        f"{', '.join(ACTIVATIONS)}",
    )
    initializer: Annotated[str, one_of((*INITIALIZERS, DATA_INITIALIZER))] | None = Field(
        DATA_INITIALIZER,
        description=f"Initial weights: {DATA_INITIALIZER} (of all layers, computed from training "
        f"rows), or the distribution of the hidden layers' weights: {', '.join(INITIALIZERS)}",
    )
    dropout: float = Field(
        0.15,
        ge=0,
        lt=1,
        description="Share of each hidden layer's units dropped in training, from 0 to below 1",
    )
    input_dropout: float = Field(
        0,
        ge=0,
        lt=1,
        description="Share of the network's inputs dropped in training, from 0 to below 1",
    )
    batch_norm: bool = Field(False, description="Add batch normalization to each hidden layer")
    members: int = Field(
        1,
        ge=1,
        le=4,
        description="Number of networks with different initial weights that are trained together "
        "and whose outputs are averaged, 1 to 4",
    )


class TrainingOptions(Options):
    """Loss, optimizer, regularization and stopping."""

    loss: Annotated[str, one_of(REGRESSION_LOSSES)] = Field(
        "mse",
        description=f"Loss for regression: {', '.join(REGRESSION_LOSSES)}. Classification always "
        "uses cross-entropy",
    )
    label_smoothing: float | None = Field(
        None,
        ge=0,
        lt=1,
        description="Share of each label's probability spread evenly over all classes, from 0 "
        "to below 1; for classification [0.1 for more than two classes if the probabilities are "
        "calibrated, else 0]",
    )
    class_weight: Literal["balanced"] | None = Field(
        None,
        description="Weights of the classes in the loss: balanced (inversely proportional to "
        "their frequency). Probabilities are then too high for rare classes, unless --calibrate "
        "corrects them [all rows count alike]",
    )
    optimizer: Annotated[str, one_of(OPTIMIZERS)] = Field(
        "adamw", description=f"Optimizer: {', '.join(OPTIMIZERS)}"
    )
    learning_rate: float | None = Field(
        None,
        gt=0,
        examples=[0.001],
        description="Learning rate, above 0. If given, it is used unchanged for all layers, unless "
        "--layer-rates fan_in is given too; 0.001 is typical [0.04 for classification or 0.2 for "
        "regression, divided in each layer as --layer-rates says]",
    )
    layer_rates: Literal["fan_in", "equal"] = Field(
        "fan_in",
        description="Learning rates of the layers: fan_in (for weights, the learning rate divided "
        "by the square root of the layer's number of inputs; for biases, a tenth of the learning "
        "rate; only with --optimizer adam or adamw) or equal (the same rate for all; the default "
        "if --learning-rate or another optimizer is given)",
    )
    beta2: float = Field(
        0.95,
        ge=0,
        lt=1,
        description="Decay of the moving average of squared gradients in adam, adamw and nadam, "
        "from 0 to below 1",
    )
    schedule: Annotated[str, one_of(SCHEDULES)] = Field(
        "cosine",
        description=f"Change of the learning rate during training: {', '.join(SCHEDULES)}",
    )
    regularization_schedule: Literal["constant", "flat_cosine"] = Field(
        "flat_cosine",
        description="Change of dropout and weight decay during training: constant, or flat_cosine "
        "(down to 0 in the second half of the epochs)",
    )
    l1: float = Field(
        0, ge=0, description="Strength of the L1 penalty, the sum of the absolute weights"
    )
    l2: float = Field(
        0, ge=0, description="Strength of the L2 penalty, half the sum of the squared weights"
    )
    weight_decay: float | None = Field(
        None,
        ge=0,
        examples=[0.01],
        description="Decoupled weight decay; only with --optimizer adamw [0.02 with adamw, else 0]",
    )
    clip_norm: float | None = Field(
        None,
        gt=0,
        description="Maximum Euclidean norm of a gradient; longer gradients are scaled down [3 for "
        "regression with --layer-rates fan_in, else no limit]",
    )
    clip_value: float | None = Field(
        None,
        gt=0,
        description="Maximum absolute value of a gradient's entries; larger ones are clipped "
        "[no limit]",
    )
    max_norm: float | None = Field(
        None,
        gt=0,
        description="Maximum Euclidean norm of the weights into a unit [no limit]",
    )
    average: float = Field(
        0.998,
        ge=0,
        lt=1,
        description="Decay per step of the exponential moving average of the weights, from 0 "
        "to below 1. The averaged weights are validated and kept; 0 turns the averaging off",
    )
    batch_size: int = Field(128, ge=1, description="Number of rows in a batch")
    epochs: int | None = Field(
        None,
        ge=1,
        examples=[100],
        description="Maximum number of epochs [128 with fewer than 10,000 training rows, else "
        "64; more if these are fewer than 500 batches in all, fewer if they are more than 30,000]",
    )
    patience: int = Field(
        24,
        ge=1,
        description="Number of epochs without an improvement of --monitor after which training "
        "stops",
    )
    monitor: Monitor | None = Field(
        None,
        description="Measure on the validation rows that decides which epoch is the best: loss, or "
        "squared_error (for classification, the Brier score) [squared_error, or loss with a "
        "--loss other than mse]",
    )
    validation: float = Field(
        0.1,
        gt=0,
        lt=0.5,
        description="Share of the rows held out for early stopping, between 0 and 0.5",
    )
    seed: int = Field(
        0,
        ge=0,
        lt=2**32,
        description="Seed of the random split, the initial weights and the order of the rows",
    )


class EvaluationOptions(Options):
    """Test rows, positive class, threshold, calibration and baselines."""

    test: float = Field(
        0.2,
        gt=0,
        lt=0.5,
        description="Share of the rows held out for the evaluation, between 0 and 0.5",
    )
    positive: ClassName | None = Field(
        None,
        description="Positive class, if there are two classes: the one to which the threshold, "
        "--aim, precision, recall and ROC AUC refer [the class named 1, true, t, yes, y or on; of "
        "other names the second in sorted order, but --aim is then refused]",
    )
    aim: Aim | None = Field(
        None,
        description="Metric for which the threshold is chosen on the validation rows, if there are "
        "two classes: f1, balanced_accuracy, accuracy, recall@precision=0.9, precision@recall=0.8 "
        "or cost=FALSE_POSITIVE:FALSE_NEGATIVE [the threshold is 0.5]",
    )
    calibrate: bool | None = Field(
        None,
        description="Calibrate the probabilities on the validation rows, by a temperature of the "
        "logits, and with --class-weight also by biases. With two classes and --class-weight the "
        "threshold is then the positive class's share of the training rows [on for "
        "classification]",
    )
    clip_predictions: bool | None = Field(
        None,
        description="Limit predictions to the range of the training targets; for regression "
        "[on for regression]",
    )
    skip_baselines: bool = Field(
        False, description="Train no baselines to compare the network with"
    )


class OutputOptions(Options):
    """Where the model and the record of its training are written."""

    name: Name | None = Field(
        None, description="Name of the model [the name of the data set or file]"
    )
    models: Path = Field(
        Path("models"), description="Model repository: the folder in which the model is written"
    )
    runs: Path = Field(
        Path("runs"),
        description="Folder in which the run is recorded for `trainer report`: options, history, "
        "weights and test rows. It is never served",
    )
