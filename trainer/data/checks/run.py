"""Findings: what should be known of a table before anything is trained on it, by name.

None of them stops a run: each may be honest. But each is also how a model comes to look better than
it is, or to learn less than it could.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serving.bundle import BASIC_DATE, to_nfc
from trainer.data.checks.merged import find_merged
from trainer.data.checks.sentinels import find_sentinels, in_words
from trainer.data.precision_loss import LOST
from trainer.data.preprocess import Encoding
from trainer.data.records import MISSING, Column, Records
from trainer.data.splits import Split, class_codes
from trainer.data.tables import MAX_CLASS_NUMBER, SLICE_BYTES, Table

# Where a sample tells as much as all training rows, no more of them are looked at.
MOST_ROWS, FEWEST_ROWS = 50_000, 2_000
MOST_VALUES = 5_000_000  # rows × columns
HASHED = 2**22  # bytes hashed in one go
SEED = 0  # the same table and split, the same findings

IDENTIFIES = 0.95  # share of different values among those of a name or number given to each row
TELLS, TELLS_ORDER = 0.99, 0.999  # of a class; of a quantity's rank
FEWEST_NAMED, FEWEST_JUDGED, FEWEST_OF_CLASS = (
    10,
    25,
    5,
)  # rows; below these, what is measured may be chance
REPEATED = 0.01  # share of rows to be judged on that shifts no metric by more
RARE_ROWS = 10
MOSTLY_MISSING = 0.95
MANY_WORDS = 1000
NUMBERS = ("number", "precise")  # kinds
UNSEEN = 0.5  # share of a column's values in the rows to choose with and to be judged on
LISTED = 10  # columns or classes named in one sentence

# As people name what only tells rows apart: id, user_id, userId, PassengerId, index, row number.
IDENTIFIER = re.compile(
    r"(?:.*[\W_])?(?:id|key|uuid|guid|index|number|no)|(?s:.*)[a-z](?:Id|ID)|unnamed: [\d.]+"
)

REMEDIES = {
    "precise_column": "nothing need be done: each is an input of its own, so that the model takes "
    "records, and no matrix of numbers; --number NAME keeps it in float32 and loses them",
    "imprecise_column": "--precise NAME reads it in float64, as is done where --number NAME is "
    "left out",
    "huge_integer": "where they are names of something, --category NAME or --drop NAME; else "
    "subtract a constant from them",
    "number_like_date": "if they are dates, --date NAME reads them so",
    "leading_zeros": "--category NAME keeps codes, such as postal codes, as they are written; "
    "--number NAME if they are quantities",
    "identifier_column": "leave out what only tells rows apart: --drop NAME",
    "constant_column": "leave out what teaches nothing: --drop NAME",
    "duplicate_column": "keep one of those that are equal: --drop NAME",
    "leaking_column": "leave out what is only known once the target is: --drop NAME; where it "
    "says whose rows they are, keep these in one part: --group NAME",
    "duplicate_rows": "remove repeated rows; where they are of the same person or thing, keep "
    "these in one part: --group NAME; where few features can meet by chance, all is well",
    "rare_class": "merge rare classes or find more rows of them; --class-weight balanced makes "
    "those there are count, and with it --calibrate keeps the probabilities true",
    "class_variants": "write each class in one way, and train again; where they are different "
    "classes, all is well; where they are no classes at all, name another column: --target NAME",
    "category_variants": "write each text in one way; where they are different ones, all is well; "
    "or --drop NAME",
    "unseen_categories": "where rows are split by time or group, such texts will come later too; "
    "a model knows nothing of them: use texts that stay, or --drop NAME",
    "index_column": "to have it as a feature, say its kind, such as --number NAME; to have nothing "
    "said, --drop NAME",
    "mostly_missing_column": "unless it matters that it is missing, --drop NAME",
    "many_categories": "merge rare texts into fewer, or --drop NAME",
    "merged_column": "the network learns next to nothing from it: tell rare texts apart with "
    "--rare 1; where they are dates, say --date NAME --date-format NAME=%d/%m/%Y (day, month, year "
    "as they are written); else --drop NAME",
    "sentinel_value": "if it marks a missing value, say --missing with it and with the words that "
    "stand for a gap already, such as --missing -9999,NA, or leave those cells empty",
    "dates_as_text": "as a category each date is a separate text; name the format as shown, or say "
    "--category NAME if they are no dates",
    "recognized_dates": "with these options files of other dates are read in the same way; "
    "--category NAME if they are no dates",
}


@dataclass(frozen=True)
class Finding:
    """Something that should be known before training.

    Attributes:
        name: Kind of finding, such as a key of `REMEDIES`.
        columns: Names of the columns concerned, in the order of a row; the target for a finding
            about classes, none for one about rows.
        detail: Sentence with the numbers of the finding.
        remedy: Advice, with the option to use.
    """

    name: str
    columns: tuple[str, ...]
    detail: str
    remedy: str


def check_table(table: Table, parts: Split, encoding: Encoding | None = None) -> list[Finding]:
    """Look for what should be known before training; at most one finding of each kind.

    What can be told from a sample is told from up to 50,000 training rows drawn at random, fewer
    of very wide tables, and the detail says so. Beside these it takes memory for a few row numbers
    a row.

    Args:
        table: All rows of the data.
        parts: Rows for training, validation and testing.
        encoding: Encoding of the columns [default: that of `fit`].
    """
    look = _Look.of(table, parts)
    constant = _constant(look)
    varying = [pair for pair in look.columns if pair[0].name not in constant]
    # Texts that are meant for numbers differ as numbers do, and are not to be dropped for that.
    suspected = {column.name for column in table.inferred if column.suspicion is not None}
    dates = {c.name for c in table.inferred if c.proposal and c.kind == "category"}
    precise, imprecise = _precision(table)
    constant = {name: said for name, said in constant.items() if name not in imprecise}
    like_dates = _like_dates(table)
    identifiers = _identifiers(look, [pair for pair in varying if pair[0].name not in suspected])
    # Once these are left out or read as what they are, they have no texts to speak of.
    explained = {*identifiers, *suspected, *dates}
    found = [
        *check_file_columns(table),
        look.finding(
            "precise_column",
            precise,
            "float32 cannot tell some values apart: {}; read in float64",
        ),
        look.finding(
            "imprecise_column",
            imprecise,
            "float32 cannot tell some values apart: {}; read in float32",
        ),
        look.finding(
            "huge_integer",
            _huge(table, like_dates),
            "beyond 2^53, where float64 cannot tell all whole numbers apart: {}",
        ),
        look.finding("number_like_date", like_dates, "numbers that look like dates: {}"),
        look.finding(
            "leading_zeros",
            _zero_padded(table),
            "codes with leading zeros that are read as numbers: {}",
        ),
        look.finding("identifier_column", identifiers, "different from row to row in {rows}: {}"),
        look.finding("constant_column", constant, "at most one value in {all}: {}"),
        look.finding("duplicate_column", _duplicates(look, varying), "equal in {all}: {}"),
        look.finding(
            "leaking_column", _leaks(look, varying), "as good as the target in {rows}: {}"
        ),
        _duplicate_rows(table, parts),
        _rare_classes(table, parts),
        _class_variants(table),
        look.finding(
            "category_variants",
            _category_variants(look, identifiers),
            "alike but for upper and lower case or white space, in {rows}: {}",
        ),
        look.finding(
            "unseen_categories",
            _unseen(look, parts, explained),
            "texts in validation and test rows that none of {all} has: {}",
        ),
        look.finding("mostly_missing_column", _mostly_missing(look), "missing in {rows}: {}"),
        look.finding(
            "many_categories",
            {
                column.name: f"{column.name} ({len(column.words):,})"
                for column in table.records.of_kind("category")
                if len(column.words) > MANY_WORDS and column.name not in explained
            },
            f"more than {MANY_WORDS:,} different texts: {{}}",
        ),
        look.finding(
            "merged_column",
            {
                name: words
                for name, words in find_merged(table.records, parts, encoding or Encoding()).items()
                if name not in explained
            },
            "texts that are rare or unseen, so that the network sees one value for all: {}",
        ),
        look.finding(
            "sentinel_value", _sentinels(look), "far outside all other values in {rows}: {}"
        ),
        *_written_dates(table),
    ]
    return [finding for finding in found if finding is not None]


def check_file_columns(table: Table) -> Iterator[Finding]:
    """Yield what was found when a file was read: its index, and texts meant for something else."""
    if table.index:
        called = _listed([name or "a column without a name" for name in table.index])
        detail = f"left out, for it only numbers the rows: {called}"
        remedy = REMEDIES["index_column"]
        if "" in table.index:
            remedy = "to have it as a feature, name it in the header; to hear nothing, --drop ''"
        yield Finding("index_column", table.index, detail, remedy)
    suspicions = [column.suspicion for column in table.inferred if column.suspicion is not None]
    for remedy in dict.fromkeys(found.remedy for found in suspicions):
        alike = [found for found in suspicions if found.remedy == remedy]
        names = tuple(found.name for found in alike)
        yield Finding("numbers_as_text", names, _listed([f.detail for f in alike]), remedy)


Pair = tuple[Column, NDArray[Any]]  # a column and its values, as `Records.column` has them
Named = dict[str, str]  # columns found, by name, each with its own numbers


@dataclass(frozen=True)
class _Look:
    """Training rows to look at.

    Attributes:
        table: all the rows.
        train: numbers of all training rows.
        rows: numbers of the training rows looked at, rising.
        columns: each with its values in those rows.
        half: which of them answers are learned from, to be judged on the others.
    """

    table: Table
    train: NDArray[np.int64]
    rows: NDArray[np.int64]
    columns: list[Pair]
    half: NDArray[np.bool_]

    @classmethod
    def of(cls, table: Table, parts: Split) -> _Look:
        rng = np.random.default_rng(SEED)
        rows, records = parts.train, table.records
        size = min(MOST_ROWS, max(FEWEST_ROWS, MOST_VALUES // len(records.columns)))
        if len(rows) > size:
            rows = rng.choice(rows, size, replace=False)
        rows = np.sort(rows)  # they may be mapped from a file
        # Rows of one group are alike: who knows some of them knows the others.
        whose = np.arange(len(rows)) if table.groups is None else class_codes(table.groups[rows])[1]
        n_groups = int(whose.max()) + 1
        half = rng.permutation(n_groups)[whose] < n_groups / 2
        return cls(table, parts.train, rows, list(_pairs(records.take(rows))), half)

    def finding(self, name: str, found: Named, sentence: str) -> Finding | None:
        """The columns found put into a sentence, if there are any."""
        if not found:
            return None
        share = f"{len(self.rows):,} of {len(self.train):,} training rows, drawn at random"
        everywhere = f"all {len(self.train):,} training rows"
        detail = sentence.format(
            _listed(list(found.values())),
            rows=everywhere if len(self.rows) == len(self.train) else share,
            all=everywhere,
        )
        return Finding(name, tuple(found), detail, REMEDIES[name])

    def everywhere(self, *names: str) -> Iterator[list[NDArray[Any]]]:
        """Those columns' values in all training rows, a slice of rows at a time."""
        columns = [self.table.records.column(name) for name in names]
        for start in range(0, len(self.train), SLICE_BYTES):
            rows = self.train[start : start + SLICE_BYTES]
            yield [values[rows] for values in columns]


def _pairs(records: Records) -> Iterator[Pair]:
    """The columns in the order of a row; found by place, for there may be thousands."""
    numbers, dates, codes, precise = (iter(array.T) for array in records.arrays)
    places = {"date": dates, "category": codes, "precise": precise}
    for column in records.columns:
        yield column, next(places.get(column.kind, numbers))


def _gaps(values: NDArray[Any]) -> NDArray[np.bool_]:
    gaps: NDArray[np.bool_] = values == MISSING if values.dtype.kind == "i" else np.isnan(values)
    return gaps


def _listed(texts: Sequence[str]) -> str:
    more = f" and {len(texts) - LISTED} more" if len(texts) > LISTED else ""
    return ", ".join(texts[:LISTED]) + more


def _precision(table: Table) -> tuple[Named, Named]:
    """Columns that are read in float64 for what float32 would lose, and those that lose it."""
    kinds = {column.name: column.kind for column in table.records.columns}
    precise: Named = {}
    imprecise: Named = {}
    for loss in table.losses:
        if kinds.get(loss.name) == "precise" and loss.share > LOST:
            precise[loss.name] = loss.in_words
        elif kinds.get(loss.name) == "number" and loss.needs_float64:
            imprecise[loss.name] = loss.in_words
    return precise, imprecise


def _huge(table: Table, like_dates: Named) -> Named:
    """Whole numbers that not even float64 tells apart."""
    found: Named = {}
    features = {column.name for column in table.records.of_kind("number", "precise")}
    for column in table.inferred:
        if column.name in features and column.name not in like_dates and column.is_whole:
            largest = max(abs(column.minimum or 0.0), abs(column.maximum or 0.0))
            if largest >= MAX_CLASS_NUMBER:
                found[column.name] = f"{column.name} (up to {largest:.3g})"
    return found


def _like_dates(table: Table) -> Named:
    """Numbers that are moments of our time in one unit, or days such as 20230318."""
    found: Named = {}
    features = {column.name for column in table.records.of_kind("number", "precise")}
    for column in table.inferred:
        if column.suggested_date_format and column.name in features:
            is_days = column.suggested_date_format == BASIC_DATE
            how = "days as 20230318 is" if is_days else f"{column.suggested_date_format} since 1970"
            found[column.name] = f"{column.name} ({how})"
    return found


def _zero_padded(table: Table) -> Named:
    """Return number columns with texts such as 01234, each with the first of these texts."""
    features = {column.name for column in table.records.of_kind("number", "precise")}
    return {
        column.name: f"{column.name} (such as {column.zero_padded_text!r})"
        for column in table.inferred
        if column.zero_padded_text and column.name in features
    }


def _constant(look: _Look) -> Named:
    found = {}
    for column, values in look.columns:
        present = values[~_gaps(values)]
        if (present == present[:1]).all():  # so far; the rows not looked at decide
            parts = look.everywhere(column.name)
            different = [np.unique(part[~_gaps(part)]) for (part,) in parts]
            if len(np.unique(np.concatenate(different))) < 2:
                found[column.name] = column.name
    return found


def _identifiers(look: _Look, columns: Iterable[Pair]) -> Named:
    found = {}
    for column, values in columns:
        present = ~_gaps(values)
        n, different = np.count_nonzero(present), len(np.unique(values[present]))
        names = False
        if n < FEWEST_NAMED:
            continue
        if column.kind == "category":
            names = bool(different >= IDENTIFIES * n)
        elif column.kind in NUMBERS and (values[present] == np.round(values[present])).all():
            named = IDENTIFIER.fullmatch(column.name) or IDENTIFIER.fullmatch(column.name.lower())
            names = _counts_rows(values[present], look.rows[present])
            names |= named is not None and bool(different == n)
        if names:
            found[column.name] = f"{column.name} ({different:,} different values in {n:,})"
    return found


def _counts_rows(values: NDArray[np.float32], rows: NDArray[np.int64]) -> bool:
    """Whether values rise by 1 from row to row, as far as float32 can tell."""
    ahead = values.astype(np.float64) - rows
    return bool(np.ptp(ahead) <= np.spacing(np.abs(values).max()))


def _duplicates(look: _Look, columns: Iterable[Pair]) -> Named:
    numbering: dict[str, int] = {}  # of texts, for two columns need not number theirs alike

    def comparable(column: Column) -> Callable[[NDArray[Any]], NDArray[Any]]:
        if column.kind != "category":
            return _plain
        numbers = [numbering.setdefault(word, len(numbering)) for word in column.words]
        table = np.array([*numbers, MISSING])  # of a gap, −1, the last
        return lambda codes: table[codes]

    seen: dict[tuple[bool, bytes], Column] = {}
    found = {}
    for column, values in columns:
        one = comparable(column)
        key = (column.kind == "category", np.ascontiguousarray(one(values)).tobytes())
        first = seen.setdefault(key, column)
        if first is column:
            continue
        other = comparable(first)
        slices = look.everywhere(column.name, first.name)
        if all(np.array_equal(one(a), other(b), equal_nan=True) for a, b in slices):
            found[column.name] = f"{column.name} equals {first.name}"
    return found


def _plain(values: NDArray[Any]) -> NDArray[Any]:
    """Numbers with one zero and one NaN, so that equal ones have equal bytes."""
    kind = values.dtype.type
    plain: NDArray[Any] = np.where(np.isnan(values), kind(np.nan), values + kind(0))
    return plain


def _leaks(look: _Look, columns: Iterable[Pair]) -> Named:
    judged = np.count_nonzero(~look.half)
    if min(judged, len(look.half) - judged) < FEWEST_JUDGED:
        return {}
    target = look.table.target[look.rows]
    if look.table.task == "regression":
        names = look.table.target_names
        tell: list[Callable[[Pair], str | None]] = [
            _TellsValue(name, values, look.half).measure
            for name, values in zip(names, target.T, strict=True)
        ]
    else:
        tell = [_TellsClass(class_codes(target)[1], look.half).measure]
    found = {}
    for pair in columns:
        measured = [measure for tells in tell if (measure := tells(pair)) is not None]
        if measured:
            found[pair[0].name] = f"{pair[0].name} ({' and '.join(measured)})"
    return found


@dataclass(frozen=True)
class _TellsClass:
    """How well one column alone tells all classes.

    Attributes:
        classes: of each row, int32 `(n,)`.
        half: which rows answers are learned from, to be judged on the others.
    """

    classes: NDArray[np.int32]
    half: NDArray[np.bool_]

    def measure(self, pair: Pair) -> str | None:
        """In words, if it is as good as perfect."""
        column, values = pair
        if column.kind == "category":
            recall = self._recall(self._usual(values + 1))
        else:
            if self.classes.max() == 1 and (area := self._area(values)) >= TELLS:
                return f"AUC {area:.3f}"
            ranks = _ranks(values)
            recall = 0.0 if self._scattered(ranks) else self._recall(self._parted(ranks))
        return f"recall {recall:.3f} on held-out rows" if recall >= TELLS else None

    def _recall(self, answers: NDArray[Any]) -> float:
        """Mean over the classes, so that knowing the most frequent ones is not enough."""
        truth = self.classes[~self.half]
        rows = np.bincount(truth)
        enough = rows >= FEWEST_OF_CLASS
        if np.count_nonzero(enough) < 2:
            return 0.0
        right = np.bincount(truth, answers == truth)
        return float((right[enough] / rows[enough]).mean())

    def _usual(self, codes: NDArray[Any]) -> NDArray[Any]:
        """The most frequent class of each category, of those not met that of all."""
        classes, n_classes = self.classes[self.half], int(self.classes.max()) + 1
        pairs, rows = np.unique(
            codes[self.half].astype(np.int64) * n_classes + classes, return_counts=True
        )
        category, of = np.divmod(pairs[np.argsort(rows)], n_classes)
        answer = np.full(codes.max() + 1, np.bincount(classes).argmax())
        answer[category] = of  # the last written is the most frequent
        answers: NDArray[Any] = answer[codes[~self.half]]
        return answers

    def _scattered(self, ranks: NDArray[np.float64]) -> bool:
        """Whether classes change too often from rank to rank for a tree to tell them apart."""
        changes = np.count_nonzero(np.diff(self.classes[np.lexsort((self.classes, ranks))]))
        return bool(changes > 0.1 * len(ranks) + 2 * self.classes.max())

    def _parted(self, ranks: NDArray[np.float64]) -> NDArray[Any]:
        """What a tree with this column alone says; ranks, for its float32 holds no dates."""
        from sklearn.tree import DecisionTreeClassifier  # noqa: PLC0415 - slow to import

        tree = DecisionTreeClassifier(max_depth=12, random_state=SEED)
        tree.fit(ranks[self.half, None], self.classes[self.half])
        answers: NDArray[Any] = tree.predict(ranks[~self.half, None])
        return answers

    def _area(self, values: NDArray[Any]) -> float:
        """Area under the ROC curve, whichever end is which, and gaps at either."""
        positive = self.classes == 1
        n, m = np.count_nonzero(positive), np.count_nonzero(~positive)
        if min(n, m) < 2 * FEWEST_OF_CLASS:
            return 0.0
        gaps, best = np.isnan(values), 0.0
        for end in (-np.inf, np.inf) if gaps.any() else (0.0,):
            ranks = _ranks(np.where(gaps, end, values))
            area = (ranks[positive].sum() - n * (n + 1) / 2) / (n * m)  # Mann and Whitney 1947
            best = max(best, area, 1 - area)
        return float(best)


@dataclass(frozen=True)
class _TellsValue:
    """How well one column alone tells a quantity.

    Attributes:
        name: of the quantity.
        target: float64 `(n,)`.
        half: which rows answers are learned from, to be judged on the others.
    """

    name: str
    target: NDArray[np.float64]
    half: NDArray[np.bool_]

    def measure(self, pair: Pair) -> str | None:
        """In words, if it is as good as perfect."""
        column, values = pair
        if column.kind == "category":
            r2 = self._explained(values + 1)
            return f"r2 {r2:.3f} of {self.name} on held-out rows" if r2 >= TELLS else None
        order = self._order(values)
        known = f"rank correlation {order:.4f} with {self.name}"
        return known if abs(order) >= TELLS_ORDER else None

    def _order(self, values: NDArray[Any]) -> float:
        """Spearman's correlation where there is a value, if that is in most rows."""
        present = ~np.isnan(values)
        if np.count_nonzero(present) <= len(values) / 2:
            return 0.0
        one, other = _ranks(values[present]), _ranks(self.target[present])
        one, other = one - one.mean(), other - other.mean()
        scale = np.sqrt((one @ one) * (other @ other))
        return float(one @ other / scale) if scale > 0 else 0.0

    def _explained(self, codes: NDArray[Any]) -> float:
        """r2 of the mean of each category, of those not met that of all."""
        known, truth = self.target[self.half], self.target[~self.half]
        rows = np.bincount(codes[self.half], minlength=codes.max() + 1)
        sums = np.bincount(codes[self.half], known, minlength=len(rows))
        means = np.where(rows > 0, sums / np.maximum(rows, 1), known.mean())
        spread = ((truth - truth.mean()) ** 2).sum()
        missed = ((truth - means[codes[~self.half]]) ** 2).sum()
        return float(1 - missed / spread) if spread > 0 else 0.0


def _ranks(values: NDArray[Any]) -> NDArray[np.float64]:
    """Rank of each value from 1, the mean of those that equal ones share; NaN stays NaN."""
    ranks = np.full(len(values), np.nan)
    present = ~np.isnan(values)
    _, place, rows = np.unique(values[present], return_inverse=True, return_counts=True)
    ranks[present] = (np.cumsum(rows) - (rows - 1) / 2)[place]
    return ranks


def _mostly_missing(look: _Look) -> Named:
    shares = {column.name: float(_gaps(values).mean()) for column, values in look.columns}
    return {
        name: f"{name} ({share:.1%})" for name, share in shares.items() if share > MOSTLY_MISSING
    }


def _sentinels(look: _Look) -> Named:
    found = {}
    for column, values in look.columns:
        if column.kind in (*NUMBERS, "date"):
            words = list(in_words(find_sentinels(values, dates=column.kind == "date")))
            if words:
                found[column.name] = f"{column.name} ({', '.join(words)})"
    if look.table.task == "regression":
        for name, values in zip(look.table.target_names, look.table.target.T, strict=True):
            if words := list(in_words(find_sentinels(values[look.rows]))):
                found[name] = f"the target {name} ({', '.join(words)})"
    return found


def _written_dates(table: Table) -> Iterator[Finding]:
    """What is a date, or seems to be one, though it is written otherwise than in ISO 8601."""
    for name, kind, sentence in (
        ("dates_as_text", "category", "texts that look like dates: {}"),
        ("recognized_dates", "date", "texts that are read as dates: {}"),
    ):
        found = {c.name: c.proposal for c in table.inferred if c.proposal and c.kind == kind}
        if found:
            shown = _listed([f"{column}: {proposal}" for column, proposal in found.items()])
            yield Finding(name, tuple(found), sentence.format(shown), REMEDIES[name])


def _rare_classes(table: Table, parts: Split) -> Finding | None:
    if table.task == "regression":
        return None
    classes, codes = class_codes(table.target)
    rows = np.bincount(codes[parts.train], minlength=len(classes))
    rare = [f"{classes[i]} ({rows[i]})" for i in np.flatnonzero(rows < RARE_ROWS)]
    if not rare:
        return None
    detail = f"of {_listed(rare)} there are fewer than {RARE_ROWS} training rows"
    return Finding("rare_class", table.target_names, detail, REMEDIES["rare_class"])


def _class_variants(table: Table) -> Finding | None:
    if table.target.dtype.kind != "U":
        return None
    classes, codes = class_codes(table.target)
    variants = _variants(classes.tolist(), np.bincount(codes, minlength=len(classes)))
    if not variants:
        return None
    detail = f"classes alike but for upper and lower case or white space: {_listed(variants)}"
    return Finding("class_variants", table.target_names, detail, REMEDIES["class_variants"])


def _category_variants(look: _Look, identifiers: Collection[str]) -> Named:
    found = {}
    for column, values in look.columns:
        if column.kind == "category" and column.name not in identifiers:
            rows = np.bincount(values[values >= 0], minlength=len(column.words))
            if variants := _variants(column.words, rows):
                found[column.name] = f"{column.name} ({_listed(variants)})"
    return found


def _variants(words: Sequence[str], rows: NDArray[np.int64]) -> list[str]:
    """The texts of several spellings, each with its rows; of white space one is like another."""
    alike: dict[str, list[int]] = {}
    for place in np.flatnonzero(rows).tolist():
        alike.setdefault(" ".join(to_nfc(words[place].casefold()).split()), []).append(place)
    return [
        " and ".join(f"{str(words[place])!r} ({rows[place]:,})" for place in places)
        for places in alike.values()
        if len(places) > 1
    ]


def _unseen(look: _Look, parts: Split, explained: Collection[str]) -> Named:
    rows = np.sort(np.concatenate([parts.validation, parts.test]))
    records, found = look.table.records, {}
    for place, column in enumerate(records.of_kind("category")):
        if column.name in explained:
            continue
        known = np.zeros(len(column.words) + 1, np.bool_)  # the last of a gap, −1
        known[-1] = True
        known[np.asarray(records.codes[look.train, place])] = True
        codes = np.asarray(records.codes[rows, place])
        strange = codes[~known[codes]]
        values = int(np.count_nonzero(codes != MISSING))
        if values >= FEWEST_NAMED and len(strange) > UNSEEN * values:
            share = len(strange) / values
            found[column.name] = (
                f"{column.name} ({share:.0%}, such as {str(column.words[strange[0]])!r})"
            )
    return found


def _duplicate_rows(table: Table, parts: Split) -> Finding | None:
    features, answered = _digests(table)
    known, known_answered = np.sort(features[parts.train]), np.sort(answered[parts.train])
    told, repeated, agreeing, many = [], 0, 0, False
    for name, rows in (("test", parts.test), ("validation", parts.validation)):
        n = _count_among(features[rows], known)
        told.append(f"{n:,} of {len(rows):,} {name} rows ({n / len(rows):.1%})")
        repeated += n
        agreeing += _count_among(answered[rows], known_answered)
        many |= n > max(1, REPEATED * len(rows))
    if not many:
        return None
    detail = (
        f"{' and '.join(told)} have the features of a training row, and {agreeing:,} of these "
        f"{repeated:,} its target too"
    )
    return Finding("duplicate_rows", (), detail, REMEDIES["duplicate_rows"])


def _count_among(values: NDArray[np.int64], known: NDArray[np.int64]) -> int:
    """How many are among those known, which are sorted; `numpy.isin` takes ten times as long."""
    nearest = known[np.searchsorted(known, values).clip(max=len(known) - 1)]
    return int(np.count_nonzero(nearest == values))


def _digests(table: Table) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """64 bits of each row's features, and of features and target, each `(n,)`.

    Among ten million rows the odds that any two of them that differ have the same are 3 in a
    million.
    """
    records, target = table.records, table.target
    if table.task != "regression":
        target = class_codes(target)[1]
    arrays = [array for array in records.arrays if array.shape[1]]
    width = sum(a.shape[1] * a.itemsize for a in arrays)
    features, answered = np.empty((2, len(table)), np.int64)
    step = max(1, HASHED // width)
    for start in range(0, len(table), step):
        part = slice(start, start + step)
        row = np.hstack([_bytes(array[part]) for array in arrays])
        features[part] = _hashes(row)
        answered[part] = _hashes(np.hstack([row, _bytes(target[part])]))
    return features, answered


def _bytes(rows: NDArray[Any]) -> NDArray[np.uint8]:
    plain = rows if rows.dtype.kind == "i" else _plain(rows)
    return np.ascontiguousarray(plain).view(np.uint8).reshape(len(rows), -1)


def _hashes(rows: NDArray[np.uint8]) -> NDArray[np.int64]:
    texts = np.ascontiguousarray(rows).view(f"V{rows.shape[1]}").ravel().tolist()
    return np.fromiter(map(hash, texts), np.int64, len(texts))
