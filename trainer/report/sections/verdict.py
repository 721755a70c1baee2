"""The verdict: how good the model is, how sure that is, and whether less would have done."""

from __future__ import annotations

from trainer.evaluate import get_main_metric
from trainer.evaluate.baseline_comparison import compare_with_baselines, find_constant_answer
from trainer.evaluate.cautions import list_cautions
from trainer.report.blocks import (
    Block,
    Cell,
    Figure,
    Figures,
    Paragraph,
    Section,
    TableBlock,
    Tiles,
)
from trainer.report.formatting import (
    LOWER_IS_BETTER,
    baseline_name,
    count,
    decimal,
    listed,
    metric_name,
    number,
    percent,
    short,
)
from trainer.report.inputs import ReportInputs
from trainer.report.plots import ACCENT, INK, MUTED, WIDE, canvas, grid

TILES = {
    "binary": ("roc_auc", "positive_precision", "positive_recall", "accuracy", "calibration_error"),
    "multiclass": ("accuracy", "balanced_accuracy", "f1", "calibration_error"),
    "regression": ("r2", "mae", "rmse"),
}


def verdict(evidence: ReportInputs) -> Section:
    """How good it is, beside its baselines."""
    blocks: list[Block] = [Paragraph(_goodness(evidence)), _tiles(evidence)]
    blocks += _cautions(evidence)
    blocks += _constant(evidence)
    blocks.append(_comparison(evidence))
    if said := _threshold(evidence):
        blocks.append(Paragraph(said))
    if evidence.manifest.baselines:
        blocks.append(Figures([_beside(evidence)]))
    return Section("verdict", [*blocks, _metrics(evidence)])


def _goodness(evidence: ReportInputs) -> str:
    manifest = evidence.manifest
    own = manifest.metrics["test"]
    metric = get_main_metric(manifest.task, own)
    figure, rows = own[metric], count(manifest.data.rows["test"], "row")
    target = listed([short(name) for name in manifest.data.target])
    interval = manifest.intervals.get(metric)
    if metric == "r2":
        if figure <= 0:
            said = (
                f"It predicts {target} no better than their mean would: R² {number(figure, 3)} on "
                f"{rows} it has never seen"
            )
        else:
            said = (
                f"It explains {percent(figure)} of how {target} varies over {rows} it has never "
                f"seen, and is off by {number(own['mae'], 3)} on average"
            )
        ends = (
            ""
            if interval is None
            else f"R² would lie from {number(interval[0], 3)} to {number(interval[1], 3)}"
        )
    elif metric == "roc_auc":
        positive = short(str(manifest.positive_class))
        said = (
            f"Given one row that is “{positive}” and one that is not, it tells which is which "
            f"{percent(figure)} of the time (ROC AUC), and rightly labels "
            f"{percent(own['accuracy'])} of {rows} it has never seen"
        )
        ends = (
            "" if interval is None else f"that is {percent(interval[0])} to {percent(interval[1])}"
        )
    else:
        said = f"It is right on {percent(figure)} of {rows} it has never seen"
        ends = (
            "" if interval is None else f"that is {percent(interval[0])} to {percent(interval[1])}"
        )
    if not ends:
        return f"{said}."
    return f"{said}. On other rows of the same kind, 95 times in 100, {ends}."


def _tiles(evidence: ReportInputs) -> Tiles:
    manifest = evidence.manifest
    own = manifest.metrics["test"]
    items = []
    for metric in TILES[manifest.task]:
        name = metric_name(metric, manifest.positive_class)
        if metric in own:
            ends = manifest.intervals.get(metric)
            remark = f"{number(ends[0], 3)} to {number(ends[1], 3)}" if ends else ""
            items.append((name, number(own[metric], 3), remark))
    return Tiles(items)


def _comparison(evidence: ReportInputs) -> Paragraph:
    manifest = evidence.manifest
    if not manifest.baselines:
        return Paragraph(
            "No baseline was trained beside it: what is simpler may do as well.", "quiet"
        )
    found = compare_with_baselines(manifest)
    others, own = found.baseline_values, found.network_value
    low, high = manifest.intervals.get(found.metric, (own, own))
    best = max(others, key=lambda name: others[name], default=None)
    if best is None:
        return Paragraph("Its baselines were judged by other figures than it.", "quiet")
    name = metric_name(found.metric, manifest.positive_class)
    said = f"{baseline_name(best)} ({name} {decimal(others[best])})"
    near = low <= others[best] <= high
    chance = "The difference is within the interval: on so few rows it may be chance."
    if found.better_baselines:
        names = _capital(listed([baseline_name(name) for name in found.better_baselines]))
        verb = "does" if len(found.better_baselines) == 1 else "do"
        return Paragraph(
            f"{names} {verb} better on the same rows than this network's {decimal(own)}; "
            f"the best is {said}. {f'{chance} Where less does as well, s' if near else 'S'}erve "
            f"that, or give the network what it lacks.",
            "bad",
        )
    if found.equal_baselines:
        names = _capital(listed([baseline_name(name) for name in found.equal_baselines]))
        verb = "does" if len(found.equal_baselines) == 1 else "do"
        return Paragraph(
            f"{names} {verb} as well on the same rows as this network: {name} {decimal(own)}. "
            f"Where less does as well, serve that, or give the network what it lacks.",
            "bad",
        )
    ahead = (
        f"By {name} it is ahead of every baseline; the best of them is {said}, against its "
        f"{decimal(own)}."
    )
    return Paragraph(f"{ahead} {chance}", "plain") if near else Paragraph(ahead, "good")


def _constant(evidence: ReportInputs) -> list[Paragraph]:
    """What always giving one answer would score: an accuracy says little without it."""
    manifest = evidence.manifest
    own = manifest.metrics["test"]
    if manifest.task == "regression":
        mean = manifest.baselines.get("mean")
        if mean is None:
            return []
        theirs, ours = number(mean.metrics["mae"], 3), number(own["mae"], 3)
        return [
            Paragraph(
                f"Always answering the mean of the training rows would be off by {theirs} on "
                f"average; it is off by {ours}.",
                "bad" if own["mae"] >= mean.metrics["mae"] else "plain",
            )
        ]
    found = find_constant_answer(manifest)
    if found is None:
        return []
    about = "" if found.is_exact else "about "
    return [
        Paragraph(
            f"Always answering {short(str(found.answer), 24)} would be right on {about}"
            f"{percent(found.accuracy)} of rows like these; it is right on "
            f"{percent(own['accuracy'])}.",
            "bad" if own["accuracy"] <= found.accuracy else "plain",
        )
    ]


def _cautions(evidence: ReportInputs) -> list[Paragraph]:
    """What the figures of any variant do not say by themselves."""
    manifest = evidence.manifest
    found = [caution for name in manifest.variants for caution in list_cautions(manifest, name)]
    return [Paragraph(f"{_capital(c.detail)}; {c.remedy}.", "bad") for c in found]


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _threshold(evidence: ReportInputs) -> str:
    manifest = evidence.manifest
    if manifest.threshold is None or manifest.positive_class is None:
        return ""
    positive = short(str(manifest.positive_class))
    chosen = (
        f"chosen on the validation rows for {manifest.aim}"
        if manifest.aim
        else "no aim was given to choose another by"
    )
    if manifest.aim_unmet is not None:
        chosen = f"the aim {manifest.aim} could not be met ({manifest.aim_unmet})"
    return f"It answers “{positive}” from a probability of {manifest.threshold:.4g} up; {chosen}."


def _beside(evidence: ReportInputs) -> Figure:
    """The leading metric as points on a line, the network's with its interval."""
    manifest = evidence.manifest
    own = manifest.metrics["test"]
    metric = get_main_metric(manifest.task, own)
    named = {"this network": own[metric]}
    named |= {
        baseline_name(name): figure
        for name, figure in compare_with_baselines(manifest).baseline_values.items()
    }
    names = list(named)
    ends = manifest.intervals.get(metric)
    with canvas(width=WIDE, height=0.5 + 0.38 * len(names)) as drawing:
        axes = drawing.only
        grid(axes)
        axes.grid(visible=False, axis="y")
        if ends:
            axes.axvspan(*ends, color=ACCENT, alpha=0.1, linewidth=0)
            axes.plot(ends, [0, 0], color=ACCENT, linewidth=2.2)
        for place, (name, figure) in enumerate(named.items()):
            colour = ACCENT if place == 0 else MUTED
            axes.plot([figure], [place], "o", color=colour, markersize=7 if place == 0 else 6)
            axes.annotate(
                decimal(figure),
                (figure, place),
                (0, 7),
                textcoords="offset points",
                ha="center",
                fontsize=8.5,
                color=INK if name == "this network" else MUTED,
            )
        axes.set_yticks(range(len(names)), names)
        axes.set_ylim(len(names) - 0.5, -0.8)
        axes.margins(x=0.08)
        axes.spines["left"].set_visible(False)
        axes.tick_params(axis="y", length=0, labelcolor=INK)
    return Figure(
        drawing.svg,
        f"{_capital(metric_name(metric, manifest.positive_class))} on the test rows; further right "
        f"is better. The band is the network's 95 % interval: a point inside it may do as well.",
    )


def _metrics(evidence: ReportInputs) -> TableBlock:
    manifest = evidence.manifest
    own = manifest.metrics["test"]
    baselines = manifest.baselines
    head = ["metric", "this network", "95 % interval", *map(baseline_name, baselines)]
    rows: list[list[str | Cell]] = []
    for metric, figure in own.items():
        ends = manifest.intervals.get(metric)
        others = [b.metrics.get(metric) for b in baselines.values()]
        sign = -1 if metric in LOWER_IS_BETTER else 1
        cells: list[str | Cell] = [
            Cell(decimal(other), 0.18, "bad")
            if other is not None and sign * other > sign * figure
            else decimal(other)
            for other in others
        ]
        better = " ↓" if metric in LOWER_IS_BETTER else ""
        between = f"{decimal(ends[0])} to {decimal(ends[1])}" if ends else "–"
        own_cell = Cell(decimal(figure), 0, "good")
        name = metric_name(metric, manifest.positive_class)
        rows.append([f"{name}{better}", own_cell, between, *cells])
    caption = "On the test rows. Higher is better, but of those marked ↓."
    if baselines:
        caption += " Tinted: where a baseline does better than the network."
    if baselines and manifest.threshold not in (None, 0.5):
        caption += (
            f" The network answers from a probability of {number(manifest.threshold)} up, the "
            f"baselines from 0.5: of the metrics of labels that is part of the difference."
        )
    if manifest.classes is not None:
        caption += " Macro: the mean over the classes, each of which counts alike."
    return TableBlock(head, rows, caption)
