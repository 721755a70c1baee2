"""The summary: the main metrics with intervals, and the comparison with baselines."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from serving.bundle import Manifest
from trainer.evaluate import get_main_metric
from trainer.evaluate.baseline_comparison import (
    compare_with_baselines,
    find_constant_answer,
    suggest_preset,
)
from trainer.evaluate.cautions import list_cautions
from trainer.report.blocks import (
    Block,
    Cell,
    Figure,
    FigureRow,
    MetricTiles,
    Paragraph,
    Section,
    TableBlock,
)
from trainer.report.formatting import (
    LOWER_IS_BETTER,
    METRIC_MEANINGS,
    capitalize,
    format_baseline,
    format_count,
    format_decimal,
    format_metric,
    format_metric_with_direction,
    format_number,
    format_percent,
    join_words,
    shorten,
)
from trainer.report.inputs import ReportInputs
from trainer.report.plots import (
    ACCENT,
    INK,
    LABEL_SIZE,
    MUTED,
    WIDE_WIDTH,
    open_canvas,
    show_grid,
)

TILE_METRICS = {
    "binary": ("roc_auc", "positive_precision", "positive_recall", "accuracy", "calibration_error"),
    "multiclass": ("accuracy", "balanced_accuracy", "f1", "calibration_error"),
    "regression": ("r2", "mae", "rmse"),
}
NETWORK = "this network"
BETTER = "▲"  # mark of a baseline that is better than the network


def build_summary(inputs: ReportInputs) -> Section:
    """Return the quality of the model, cautions and the comparison with its baselines."""
    manifest = inputs.manifest
    blocks: list[Block] = [Paragraph(_describe_quality(manifest)), _make_tiles(manifest)]
    blocks += _list_cautions(manifest)
    blocks += _compare_with_constant(manifest)
    blocks.append(_compare_with_baselines(manifest))
    if text := _describe_threshold(manifest):
        blocks.append(Paragraph(text))
    if manifest.baselines:
        blocks.append(FigureRow([_plot_baselines(manifest)]))
    return Section("summary", [*blocks, _tabulate_metrics(manifest), _explain_metrics(manifest)])


def _describe_quality(manifest: Manifest) -> str:
    """Return sentences on the main metric and its interval."""
    test = manifest.metrics["test"]
    metric = get_main_metric(manifest.task, test)
    value, rows = test[metric], format_count(manifest.data.rows["test"], "test row")
    target = join_words([shorten(name) for name in manifest.data.target])
    name = "accuracy"
    format_value: Callable[[float], str] = format_percent
    if metric == "r2":
        name, format_value = "R²", partial(format_number, digits=3)
        if value <= 0:
            text = (
                f"On {rows}, which were not used in training, the model predicts {target} no "
                f"better than its mean would: R² is {format_value(value)}."
            )
        else:
            text = (
                f"On {rows}, which were not used in training, the model explains "
                f"{format_percent(value)} of the variance of {target} (R²). Its mean absolute "
                f"error is {format_number(test['mae'], 3)}."
            )
    elif metric == "roc_auc":
        name = "ROC AUC"
        positive = shorten(str(manifest.positive_class))
        text = (
            f"Given one row that is “{positive}” and one that is not, the model assigns the higher "
            f"probability of “{positive}” to the right one {format_percent(value)} of the time "
            f"(ROC AUC). Of {rows}, which were not used in training, it classifies "
            f"{format_percent(test['accuracy'])} correctly."
        )
    else:
        text = (
            f"Of {rows}, which were not used in training, the model classifies "
            f"{format_percent(value)} correctly."
        )
    interval = manifest.intervals.get(metric)
    if interval is None:
        return text
    low, high = map(format_value, interval)
    return f"{text} The 95 % interval of {name} is {low} to {high}."


def _make_tiles(manifest: Manifest) -> MetricTiles:
    """Return the main metrics of the task with their intervals."""
    test = manifest.metrics["test"]
    items = []
    for metric in TILE_METRICS[manifest.task]:
        if metric in test:
            name = format_metric(metric, manifest.positive_class)
            interval = manifest.intervals.get(metric)
            lines = ["lower is better"] if metric in LOWER_IS_BETTER else []
            if interval:
                lines += ["95 % interval:", " to ".join(map(format_decimal, interval))]
            remark = "\n".join(lines)
            items.append((name, format_decimal(test[metric]), remark))
    return MetricTiles(items)


def _compare_with_baselines(manifest: Manifest) -> Paragraph:
    """Return whether a baseline is better than the network, as good, or worse."""
    if not manifest.baselines:
        text = "No baseline was trained, so it is unknown whether a simpler model is as good."
        return Paragraph(text, "muted")
    comparison = compare_with_baselines(manifest)
    others, own = comparison.baseline_values, comparison.network_value
    best = max(others, key=lambda name: others[name], default=None)
    if best is None:
        text = "The baselines cannot be compared: they were evaluated with other metrics."
        return Paragraph(text, "muted")
    metric = format_metric(comparison.metric, manifest.positive_class)
    best_text = f"{format_baseline(best)} ({metric}: {format_decimal(others[best])})"
    low, high = manifest.intervals.get(comparison.metric, (own, own))
    note = ""
    if low <= others[best] <= high:
        note = (
            f" {format_decimal(others[best])} is within the 95 % interval of the network, so the "
            f"difference may be due to chance."
        )
    preset = suggest_preset(manifest)
    advice = "Use the simpler model, or improve the network"
    advice += "." if preset is None else f", for example with --preset {preset}."
    if names := comparison.better_baselines:
        values = f"{metric}: {format_decimal(others[best])} against {format_decimal(own)}"
        if len(names) == 1:
            verdict = f"is better on the same rows than this network ({values})"
        else:
            verdict = (
                f"are better on the same rows than this network; the best is "
                f"{format_baseline(best)} ({values})"
            )
        return Paragraph(f"{_join_baselines(names)} {verdict}.{note} {advice}", "bad")
    if names := comparison.equal_baselines:
        return Paragraph(
            f"{_join_baselines(names)} {'is' if len(names) == 1 else 'are'} as good on the same "
            f"rows as this network ({metric}: {format_decimal(own)}). {advice}",
            "bad",
        )
    text = (
        f"The network is better than all baselines. Its {metric} is {format_decimal(own)}; the "
        f"best baseline is {best_text}.{note}"
    )
    return Paragraph(text, "plain" if note else "good")


def _join_baselines(names: list[str]) -> str:
    """Return the names of baselines as the beginning of a sentence."""
    return capitalize(join_words([format_baseline(name) for name in names]))


def _compare_with_constant(manifest: Manifest) -> list[Paragraph]:
    """Return the score of a constant answer, without which an accuracy has little meaning."""
    test = manifest.metrics["test"]
    if manifest.task == "regression":
        mean = manifest.baselines.get("mean")
        if mean is None:
            return []
        text = (
            f"A constant prediction of the mean of the training rows has a mean absolute error of "
            f"{format_number(mean.metrics['mae'], 3)}; this model has "
            f"{format_number(test['mae'], 3)}."
        )
        return [Paragraph(text, "bad" if test["mae"] >= mean.metrics["mae"] else "plain")]
    constant = find_constant_answer(manifest)
    if constant is None:
        return []
    about = "" if constant.is_exact else "about "
    text = (
        f"Always predicting “{shorten(str(constant.answer), 24)}” is correct on {about}"
        f"{format_percent(constant.accuracy)} of these rows; this model is correct on "
        f"{format_percent(test['accuracy'])}."
    )
    if test["accuracy"] > constant.accuracy:
        return [Paragraph(text)]
    if "roc_auc" in test:
        text += (
            " Accuracy says little where a class is rare: look at precision and recall of each "
            "class in the confusion matrix."
        )
    return [Paragraph(text, "bad")]


def _list_cautions(manifest: Manifest) -> list[Paragraph]:
    """Return a warning for each problem of a variant that its metrics alone do not show."""
    cautions = [c for name in manifest.variants for c in list_cautions(manifest, name)]
    return [Paragraph(f"{capitalize(c.detail)}; {c.remedy}.", "bad") for c in cautions]


def _describe_threshold(manifest: Manifest) -> str:
    """Return a sentence on the threshold of a binary model; empty for other tasks."""
    if manifest.threshold is None or manifest.positive_class is None:
        return ""
    if manifest.aim_unmet is not None:
        reason = f"the aim “{manifest.aim}” could not be met ({manifest.aim_unmet})"
    elif manifest.aim:
        reason = f"it was chosen on the validation rows for the aim “{manifest.aim}”"
    else:
        reason = "this is the default, because no --aim was given"
    positive = shorten(str(manifest.positive_class))
    return (
        f"The model predicts “{positive}” if its probability is {manifest.threshold:.4g} or more; "
        f"{reason}."
    )


def _plot_baselines(manifest: Manifest) -> Figure:
    """Plot the main metric of the network, with its interval, and of the baselines."""
    test = manifest.metrics["test"]
    metric = get_main_metric(manifest.task, test)
    others = compare_with_baselines(manifest).baseline_values
    values = {NETWORK: test[metric]}
    values |= {format_baseline(name): value for name, value in others.items()}
    interval = manifest.intervals.get(metric)
    with open_canvas(width=WIDE_WIDTH, height=0.75 + 0.38 * len(values)) as canvas:
        axes = canvas.main_axes
        show_grid(axes)
        axes.grid(visible=False, axis="y")
        if interval:
            axes.axvspan(*interval, color=ACCENT, alpha=0.1, linewidth=0)
            axes.plot(interval, [0, 0], color=ACCENT, linewidth=2.2)
        for y, (name, value) in enumerate(values.items()):
            colour = ACCENT if name == NETWORK else MUTED
            axes.plot(
                [value],
                [y],
                "o" if name == NETWORK else "s",
                color=colour,
                markersize=7 if name == NETWORK else 6,
            )
            axes.annotate(
                format_decimal(value),
                (value, y),
                (0, 7),
                textcoords="offset points",
                ha="center",
                fontsize=LABEL_SIZE,
                color=INK if name == NETWORK else MUTED,
            )
        axes.set_yticks(range(len(values)), list(values))
        axes.set_ylim(len(values) - 0.5, -0.8)
        axes.margins(x=0.08)
        axes.set_xlabel(format_metric(metric, manifest.positive_class))
        axes.spines["left"].set_visible(False)
        axes.tick_params(axis="y", length=0, labelcolor=INK)
    name = format_metric(metric, manifest.positive_class)
    return Figure(
        f"{capitalize(name)} of this network and of simpler models, on the test rows",
        canvas.svg,
        "Further right is better. The band and the thick line are the 95 % interval of the "
        "network (circle): a simpler model (square) inside it may be as good.",
    )


def _tabulate_metrics(manifest: Manifest) -> TableBlock:
    """Return all metrics of the network and its baselines as a table."""
    baselines = manifest.baselines
    head = ["metric", NETWORK, "95 % interval", *map(format_baseline, baselines)]
    rows: list[list[str | Cell]] = []
    for metric, value in manifest.metrics["test"].items():
        is_reversed = metric in LOWER_IS_BETTER
        interval = manifest.intervals.get(metric)
        cells: list[str | Cell] = []
        for baseline in baselines.values():
            other = baseline.metrics.get(metric)
            is_better = other is not None and (other < value if is_reversed else other > value)
            text = format_decimal(other)
            cells.append(Cell(f"{text} {BETTER}", 0.18, "bad") if is_better else text)
        rows.append(
            [
                format_metric_with_direction(metric, manifest.positive_class),
                Cell(format_decimal(value), 0, "good"),
                " to ".join(format_decimal(end) for end in interval) if interval else "–",
                *cells,
            ]
        )
    caption = "Higher is better, except for those with ↓."
    if baselines:
        caption += f" {BETTER}: the simpler model is better than the network."
    if baselines and manifest.threshold not in (None, 0.5):
        caption += (
            f" The threshold of the network is {format_number(manifest.threshold)}, that of the "
            f"baselines 0.5, which contributes to the differences in the metrics of labels."
        )
    if manifest.classes is not None:
        caption += " Macro: mean over the classes, each with the same weight."
    return TableBlock("Metrics on the test rows: one metric per line", head, rows, caption)


def _explain_metrics(manifest: Manifest) -> TableBlock:
    """Return what each metric means, as a folded table."""
    rows = [
        [
            format_metric_with_direction(metric, manifest.positive_class),
            METRIC_MEANINGS.get(metric, "–"),
        ]
        for metric in manifest.metrics["test"]
    ]
    title = "What the metrics mean: one metric per line"
    return TableBlock(
        title, ["metric", "meaning"], rows, words=(0, 1), folded="What the metrics mean"
    )
