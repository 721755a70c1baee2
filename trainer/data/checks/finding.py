"""What a check reports: a finding, with the advice for each kind of finding."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

MAX_LISTED = 10  # columns or classes that one sentence lists

REMEDIES = {
    "precise_column": "nothing needs to be done: each is an input of its own, so that the model "
    "takes records and not a matrix of numbers; --number NAME keeps it in float32 and loses them",
    "imprecise_column": "--precise NAME reads it in float64, as is done where --number NAME is "
    "left out",
    "huge_integer": "where they are names of something, --category NAME or --drop NAME; else "
    "subtract a constant from them",
    "number_like_date": "if they are dates, --date NAME reads them so",
    "leading_zeros": "--category NAME keeps codes, such as postal codes, as they are written; "
    "--number NAME if they are quantities",
    "identifier_column": "leave out columns that only identify rows: --drop NAME",
    "constant_column": "leave out columns that never vary: --drop NAME",
    "duplicate_column": "keep one of those that are equal: --drop NAME",
    "leaking_column": "leave out what is only known once the target is: --drop NAME; where it "
    "says to whom a row belongs, keep such rows in one part: --group NAME",
    "duplicate_rows": "remove repeated rows; where they are of the same person or thing, keep "
    "these in one part: --group NAME; where few features can be equal by chance, nothing needs to "
    "be done",
    "rare_class": "merge rare classes or find more rows of them; --class-weight balanced gives "
    "the rare ones more weight, and with it --calibrate keeps the probabilities true",
    "class_variants": "write each class in one way, and train again; where they are different "
    "classes, nothing needs to be done; where they are no classes at all, name another column: "
    "--target NAME",
    "category_variants": "write each text in one way; where they are different ones, nothing needs "
    "to be done; or --drop NAME",
    "unseen_categories": "where rows are split by time or group, such texts will come later too, "
    "and a model knows nothing of them: use texts that stay the same, or --drop NAME",
    "index_column": "to use it as a feature, give its kind, such as --number NAME; to leave it out "
    "without this note, --drop NAME",
    "mostly_missing_column": "unless it matters that it is missing, --drop NAME",
    "many_categories": "merge rare texts into fewer, or --drop NAME",
    "merged_column": "the network learns next to nothing from it: tell rare texts apart with "
    "--rare 1; where they are dates, give --date NAME --date-format NAME=%d/%m/%Y (day, month, "
    "year as they are written); else --drop NAME",
    "sentinel_value": "if it marks a missing value, give --missing with it and with the words that "
    "stand for a gap already, such as --missing -9999,NA, or leave those cells empty",
    "dates_as_text": "as a category each date is a separate text; name the format as shown, or "
    "give --category NAME if they are no dates",
    "recognized_dates": "with these options files of other dates are read in the same way; "
    "--category NAME if they are no dates",
}

# For the columns that a check finds: each column's name, and the name together with its numbers,
# as the sentence of the finding lists it.
Details = dict[str, str]


@dataclass(frozen=True)
class Finding:
    """Something about a table that its owner should know before training.

    Attributes:
        name: Kind of the finding, such as a key of `REMEDIES`.
        columns: Names of the columns concerned, in the order of a row. It is the target for a
            finding about classes, and empty for a finding about rows.
        detail: Sentence with the numbers of the finding.
        remedy: Advice, with the option to use.
    """

    name: str
    columns: tuple[str, ...]
    detail: str
    remedy: str


def join_limited(texts: Sequence[str]) -> str:
    """Join the first `MAX_LISTED` texts with commas, and say how many more there are."""
    more = f" and {len(texts) - MAX_LISTED} more" if len(texts) > MAX_LISTED else ""
    return ", ".join(texts[:MAX_LISTED]) + more
