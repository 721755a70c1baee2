"""Tables of the compression benchmark: what each variant saves, and what it costs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from benchmarks.report.comparisons import Comparison, compare_ratio
from benchmarks.report.formatting import (
    format_count,
    format_percent,
    format_quartiles,
    format_table,
)

BENCHMARK, DENSE_GRAPH = "compression", "the dense graph"
DENSE, INT8 = "fp32", "int8"
BATCH_SIZES = ("1", "8", "64", "256")
SUMMARY_BATCH_SIZES = ("1", "64")
METRIC_NAMES = {"accuracy": "accuracy", "roc_auc": "ROC AUC", "r2": "R²"}
SIZE_HEADINGS = ("", "layers", "file", "smaller", "metric on the test rows")
PARITY_HEADINGS = (
    "",
    "rows",
    "equal labels",
    "largest difference, relative to the range",
    "exact rows",
    "batch effect",
)

Result = Mapping[str, Any]


@dataclass(frozen=True)
class MeasuredVariant:
    """A variant of a network that one command has written.

    Attributes:
        network: Name of the network.
        options: Options of the command.
        name: Name of the variant.
        metric: Name of the metric, as it is shown.
        entry: Entry of the variant in the results.
    """

    network: str
    options: str
    name: str
    metric: str
    entry: Mapping[str, Any]

    @property
    def is_dense(self) -> bool:
        """Whether it is the graph as it was trained."""
        return self.name == DENSE

    @property
    def full_name(self) -> str:
        """Network, options and variant."""
        options = f" `{self.options}`" if self.options else ""
        return f"{self.network}{options}, `{self.name}`"

    @property
    def short_name(self) -> str:
        """The variant, with the share that was pruned; for the dense graph, the network."""
        if self.is_dense:
            return f"{self.network}, dense"
        words = self.options.split()
        if "--prune" in words and self.name.startswith("pruned"):
            return f"`{self.name}`, {words[words.index('--prune') + 1]}"
        return f"`{self.name}`"

    def list_size_cells(self) -> list[str]:
        """Return name, layers, file size, factor and metric."""
        test = f"{self.entry['test']:.4f}"
        return [
            self.short_name,
            self.entry["layers"],
            f"{self.entry['bytes']:,} B",
            "" if self.is_dense else f"{self.entry['smaller']:.1f} ×",
            f"{self.metric} {test}" if self.is_dense else test,
        ]

    def format_loss(self) -> str:
        """Return the loss of the metric with its interval."""
        if self.entry["lost"] is None:
            return ""
        low, high = self.entry["lost"]["interval"]
        return f"{self.entry['lost']['drop']:.4f} ({low:.4f} to {high:.4f})"

    def get_speed_ratio(self, size: str) -> dict[str, float]:
        """Return the quartiles of the speed as a multiple of the dense graph's."""
        speed = self.entry["speed"][size]
        return {"median": speed["faster"], "low": speed["from"], "high": speed["to"]}


def list_commands(result: Result) -> Iterator[list[MeasuredVariant]]:
    """Yield the variants of each command."""
    for title, entry in result["results"].items():
        network, _, text = title.partition(": ")
        command = text.partition(" (")[0]  # the duration follows in brackets
        options = command.partition(f"models/{network}")[2].strip()
        yield [
            MeasuredVariant(
                network, options, name, METRIC_NAMES.get(entry["metric"], entry["metric"]), variant
            )
            for name, variant in entry.get("variants", {}).items()
        ]


def _list_distinct_variants(result: Result, *, is_summary: bool) -> Iterator[MeasuredVariant]:
    """Yield each graph once, although several commands of a network share some.

    Args:
        result: Results of the benchmark.
        is_summary: Whether to yield only the dense graph, `int8` and the smallest file.
    """
    seen = set()
    for variants in list_commands(result):
        smallest = min(variants, key=lambda v: v.entry["bytes"], default=None)
        for variant in variants:
            if is_summary and variant.name not in (DENSE, INT8) and variant is not smallest:
                continue
            key = (variant.network, variant.name, variant.entry["bytes"], variant.entry["test"])
            if key not in seen:
                seen.add(key)
                yield variant


def make_summary_table(result: Result) -> str:
    """Return the table of each network's dense graph, `int8` and smallest file."""
    rows = []
    for variant in _list_distinct_variants(result, is_summary=True):
        speeds = [variant.entry["speed"][size] for size in SUMMARY_BATCH_SIZES]
        factors = ", ".join(f"{speed['faster']:.2f}" for speed in speeds)
        rows.append(
            [
                *variant.list_size_cells(),
                *(f"{speed['us']:.0f}" for speed in speeds),
                "" if variant.is_dense else factors,
            ]
        )
    return format_table([*SIZE_HEADINGS, "µs, 1 row", "64 rows", "times as fast"], rows)


def _list_smallest(result: Result) -> list[MeasuredVariant]:
    """Return the smallest variant of each command."""
    return [min(variants, key=lambda v: v.entry["bytes"]) for variants in list_commands(result)]


def describe_result(result: Result) -> str:
    """Return what the smallest variants save and cost, in one sentence."""
    smallest = _list_smallest(result)
    sizes = [variant.entry["smaller"] for variant in smallest]
    speeds = {
        size: [variant.entry["speed"][size]["faster"] for variant in smallest]
        for size in SUMMARY_BATCH_SIZES
    }
    one, many = (f"{min(speeds[s]):.2f}–{max(speeds[s]):.2f}" for s in SUMMARY_BATCH_SIZES)
    return (
        f"The smallest variants have files {min(sizes):.1f}–{max(sizes):.1f} × smaller, and are "
        f"{one} × as fast as the dense graph for single rows, {many} × for batches of "
        f"{SUMMARY_BATCH_SIZES[1]}."
    )


def make_answer_table(result: Result) -> str:
    """Return the table of the smallest variant of each command: size, loss and speed."""
    rows = [
        [
            variant.network,
            variant.short_name,
            f"{variant.entry['smaller']:.1f} ×",
            f"{variant.metric} {variant.format_loss()}",
            *(f"{variant.entry['speed'][size]['faster']:.2f} ×" for size in SUMMARY_BATCH_SIZES),
        ]
        for variant in _list_smallest(result)
    ]
    headings = ("network", "smallest variant", "smaller", "lost on the test rows")
    return format_table([*headings, "speed, 1 row", "speed, 64 rows"], rows)


def make_variant_table(result: Result) -> str:
    """Return the table of all variants."""
    rows = [
        [
            *variant.list_size_cells(),
            variant.format_loss(),
            *(
                "" if variant.is_dense else format_quartiles(variant.get_speed_ratio(size))
                for size in BATCH_SIZES
            ),
        ]
        for variant in _list_distinct_variants(result, is_summary=False)
    ]
    sizes = (f"× dense, {format_count(int(size), 'row')}" for size in BATCH_SIZES)
    return format_table([*SIZE_HEADINGS, "lost", *sizes], rows)


def make_parity_table(result: Result) -> str:
    """Return the table of the comparison with the NumPy reference."""
    rows = []
    for variants in list_commands(result):
        for variant in variants:
            if (parity := variant.entry["parity"]) is None:
                continue
            effect = max(parity["by_batch"][name] for name in ("7", "256", "outliers"))
            labels = parity.get("labels_alike")
            rows.append(
                [
                    variant.full_name,
                    f"{parity['rows']:,}",
                    "–" if labels is None else format_percent(labels, 2),
                    f"{parity['of_spread']:.1e}",
                    format_percent(parity["exact_rows"], 2),
                    f"{effect:g}",
                ]
            )
    return format_table(PARITY_HEADINGS, rows)


def list_comparisons(result: Result) -> Iterator[Comparison]:
    """Yield the comparisons of each variant with the dense graph: speed and metric."""
    for variants in list_commands(result):
        for variant in variants:
            if variant.is_dense:
                continue
            for size in variant.entry["speed"]:
                yield compare_ratio(
                    variant.get_speed_ratio(size),
                    is_more_better=True,
                    benchmark=BENCHMARK,
                    workload=format_count(int(size), "row"),
                    measure="speed",
                    ours=variant.full_name,
                    other=DENSE_GRAPH,
                )
            if (loss := variant.entry["lost"]) is not None:
                low, high = loss["interval"]
                yield Comparison(
                    BENCHMARK,
                    "test rows",
                    variant.metric,
                    variant.full_name,
                    DENSE_GRAPH,
                    f"lost {variant.format_loss()}",
                    is_behind=loss["drop"] > 0,
                    is_undecided=low <= 0 <= high,
                )
