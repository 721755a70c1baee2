"""Roles: what each column of a file is there for."""

from __future__ import annotations

from dataclasses import dataclass

from serving.bundle import suggest_name
from trainer.data.column_names import column_option
from trainer.data.files.index import declared_index
from trainer.data.files.file_sources import FileSource
from trainer.data.read_options import LISTS, ReadOptions
from trainer.data.tables import DataError, join_names


@dataclass(frozen=True)
class Roles:
    """Columns by what they are there for.

    Attributes:
        target: to predict.
        features: to predict it from, in the order of the file.
        group: whose row it is, if a column says so.
        time: when it came about, likewise; it may be a feature too.
    """

    target: str
    features: tuple[str, ...]
    group: str | None
    time: str | None

    @property
    def used(self) -> tuple[str, ...]:
        """All of them, each once."""
        wanted = (*self.features, self.target, self.group, self.time)
        return tuple(dict.fromkeys(name for name in wanted if name is not None))


def roles(source: FileSource, reading: ReadOptions) -> Roles:
    """The roles of the columns of `source`.

    Raises:
        DataError: `reading` names a column that is not there or has two roles or kinds, or
            nothing is left to predict from.
    """
    _check_said(source, reading)
    left_out = (*reading.index, *reading.drop, reading.group)
    kept = [name for name in source.columns if name not in left_out]
    target = reading.target
    if target is None:
        index = {"", *reading.index, *declared_index(source)}  # never what is to be predicted
        columns = [name for name in source.columns if name not in index]
        if not columns:
            raise DataError(f"{source.name}: expected columns beside an index; got none")
        target = columns[-1]
        if target not in kept:
            raise DataError(
                f"{source.name}: expected a target; got the last column, {target!r}, as one to "
                f"drop or to group by; say another with --target"
            )
    features = tuple(name for name in kept if name != target)
    for role, name in (("group", reading.group), ("time", reading.time)):
        if name == target:
            raise DataError(
                f"{source.name}: expected another column than the target as {role}; got {name!r}; "
                f"say the target with --target"
            )
    if target not in kept:
        raise DataError(
            f"{source.name}: expected the target to be kept; got {target!r} among those to drop"
        )
    if not features:
        raise DataError(
            f"{source.name}: expected columns beside the target, separated by commas and not all "
            f"dropped; got only {target!r}"
        )
    if "" in (*features, target, reading.time):
        raise DataError(
            f"{source.name}: expected a name for every column; got none for column "
            f"{source.columns.index('') + 1}; name it in the header, or leave it out with "
            f"{column_option('drop', [''])}"
        )
    return Roles(target, features, reading.group, reading.time)


def _named(reading: ReadOptions) -> dict[str, tuple[str, ...]]:
    """The columns that options name, by option."""
    singles = {name: getattr(reading, name) for name in ("group", "time")}
    lists = {name: getattr(reading, name) for name in LISTS}
    return (
        lists
        | {"date-format": tuple(reading.formats())}
        | {name: () if value is None else (value,) for name, value in singles.items()}
    )


def _check_said(source: FileSource, reading: ReadOptions) -> None:
    there = source.columns
    try:
        reading.dates()
    except ValueError as error:
        raise DataError(f"{source.name}: {error}") from error
    if reading.target is not None and reading.target not in there:
        raise DataError(
            f"{source.name}: expected a target out of {join_names(there)}; got {reading.target!r}"
            f"{suggest_name(reading.target, there)}; say it with --target"
        )
    kinds = [name for names in reading.columns_of_kinds().values() for name in names]
    unknown = {
        option: strange
        for option, names in _named(reading).items()
        if (strange := [name for name in dict.fromkeys(names) if name not in there])
    }
    if unknown:
        got = " and ".join(
            f"{join_names(names)} for --{option}" for option, names in unknown.items()
        )
        first = next(iter(unknown.values()))[0]
        raise DataError(
            f"{source.name}: expected names of columns out of {join_names(there)}; got {got}"
            f"{suggest_name(first, there)}"
        )
    twice = sorted({name for name in kinds if kinds.count(name) > 1})
    if twice:
        raise DataError(f"{source.name}: expected one kind for {join_names(twice)}; got two")
