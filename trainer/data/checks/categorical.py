"""Checks of classes and of categories: spelled in two ways, rare, unseen, or too many of them."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
from numpy.typing import NDArray

from serving.bundle import to_nfc
from trainer.data.checks.finding import REMEDIES, Details, Finding, join_limited
from trainer.data.checks.sample import TableSample
from trainer.data.preprocess import Categories, Encoding
from trainer.data.records import MISSING, Records
from trainer.data.splits import Split
from trainer.data.tables import Table
from trainer.data.targets import class_codes

MIN_CLASS_ROWS = 10  # in the training part; classes with fewer are rare
MIN_TEXT_ROWS = 10  # rows with a text; with fewer, a share of them may be chance
MAX_UNSEEN_SHARE = 0.5  # of the texts in validation and test rows
MIN_MERGED_SHARE = 0.9  # of the training rows; from here on a column says next to nothing
MAX_TEXTS = 1000  # different texts of a column


def find_rare_classes(table: Table, split: Split) -> Finding | None:
    """Return a finding if there are classes with fewer than 10 training rows."""
    if table.task == "regression":
        return None
    classes, codes = class_codes(table.target)
    rows = np.bincount(codes[split.train], minlength=len(classes))
    rare = [f"{classes[i]} ({rows[i]})" for i in np.flatnonzero(rows < MIN_CLASS_ROWS)]
    if not rare:
        return None
    detail = f"of {join_limited(rare)} there are fewer than {MIN_CLASS_ROWS} training rows"
    return Finding("rare_class", table.target_names, detail, REMEDIES["rare_class"])


def find_class_variants(table: Table) -> Finding | None:
    """Return a finding if classes differ in upper and lower case or white space only."""
    if table.target.dtype.kind != "U":
        return None
    classes, codes = class_codes(table.target)
    variants = _describe_variants(classes.tolist(), np.bincount(codes, minlength=len(classes)))
    if not variants:
        return None
    detail = f"classes alike but for upper and lower case or white space: {join_limited(variants)}"
    return Finding("class_variants", table.target_names, detail, REMEDIES["class_variants"])


def find_category_variants(sample: TableSample, identifiers: Collection[str]) -> Details:
    """Return the columns with texts that differ in upper and lower case or white space only.

    Args:
        sample: Training rows.
        identifiers: Names of the columns that are not checked.
    """
    found = {}
    for column, codes in sample.columns:
        if column.kind == "category" and column.name not in identifiers:
            rows = np.bincount(codes[codes >= 0], minlength=len(column.words))
            if variants := _describe_variants(column.words, rows):
                found[column.name] = f"{column.name} ({join_limited(variants)})"
    return found


def _describe_variants(texts: Sequence[str], rows: NDArray[np.int64]) -> list[str]:
    """Return the spellings of each text that has several, with the rows of each.

    Args:
        texts: Different texts.
        rows: Number of rows of each text, int64 `(len(texts),)`; those without rows are left out.
    """
    groups: dict[str, list[int]] = {}
    for place in np.flatnonzero(rows).tolist():
        normalized = " ".join(to_nfc(texts[place].casefold()).split())
        groups.setdefault(normalized, []).append(place)
    return [
        " and ".join(f"{str(texts[place])!r} ({rows[place]:,})" for place in places)
        for places in groups.values()
        if len(places) > 1
    ]


def find_many_categories(records: Records, excluded: Collection[str]) -> Details:
    """Return the columns with more than 1,000 different texts, except those named in `excluded`."""
    return {
        column.name: f"{column.name} ({len(column.words):,})"
        for column in records.of_kind("category")
        if len(column.words) > MAX_TEXTS and column.name not in excluded
    }


def find_unseen_categories(table: Table, split: Split, excluded: Collection[str]) -> Details:
    """Return the columns whose texts in validation and test rows are mostly not in training rows.

    Args:
        table: All rows of the data.
        split: Row numbers of the three parts.
        excluded: Names of the columns that are not checked.
    """
    rows = np.sort(np.concatenate([split.validation, split.test]))
    records, found = table.records, {}
    for place, column in enumerate(records.of_kind("category")):
        if column.name in excluded:
            continue
        is_known = np.zeros(len(column.words) + 1, np.bool_)
        is_known[-1] = True  # the last stands for a gap, whose code is −1
        is_known[np.asarray(records.codes[split.train, place])] = True
        codes = np.asarray(records.codes[rows, place])
        unseen = codes[~is_known[codes]]
        n_texts = int(np.count_nonzero(codes != MISSING))
        if n_texts >= MIN_TEXT_ROWS and len(unseen) > MAX_UNSEEN_SHARE * n_texts:
            share = len(unseen) / n_texts
            example = str(column.words[unseen[0]])
            found[column.name] = f"{column.name} ({share:.0%}, such as {example!r})"
    return found


def find_merged_columns(
    records: Records, split: Split, encoding: Encoding, excluded: Collection[str] = ()
) -> Details:
    """Return the columns of categories that reach the network as one value for nearly all rows.

    Args:
        records: All rows.
        split: Row numbers of the three parts.
        encoding: Encoding of the columns, with the limit of rare texts.
        excluded: Names of the columns that are not checked.
    """
    held_out_rows = np.concatenate([split.validation, split.test])
    found = {}
    for place, column in enumerate(records.of_kind("category")):
        if column.name in excluded:
            continue
        codes = np.asarray(records.codes[:, place])
        train, held_out = codes[split.train], codes[held_out_rows]
        train, held_out = train[train >= 0], held_out[held_out >= 0]
        distinct = np.unique(train)
        if len(train) < MIN_TEXT_ROWS or len(distinct) < 2:
            continue  # a constant column is a finding of its own
        fitted = Categories.fit(column, train, rare=encoding.rare, one_hot=encoding.one_hot)
        is_merged = fitted.to_indices(column, train) == 0
        is_unseen = ~np.isin(held_out, distinct)
        if is_merged.mean() >= MIN_MERGED_SHARE:
            found[column.name] = f"{column.name} ({_count_text(is_merged)} training rows)"
        elif len(held_out) >= MIN_TEXT_ROWS and is_unseen.mean() > MAX_UNSEEN_SHARE:
            found[column.name] = (
                f"{column.name} ({_count_text(is_unseen)} validation and test rows, whose texts no "
                f"training row has)"
            )
    return found


def _count_text(rows: NDArray[np.bool_]) -> str:
    return f"{np.count_nonzero(rows):,} of {len(rows):,}"
