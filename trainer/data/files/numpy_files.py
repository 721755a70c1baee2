"""Array files: NumPy's `.npz`, and IDX, in which MNIST and its likes come."""

from __future__ import annotations

import gzip
import math
import re
import zlib
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import IO, Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from trainer.data.files.store import IN_MEMORY, Store
from trainer.data.precision_loss import measure_precision_losses
from trainer.data.read_options import ReadOptions
from trainer.data.records import Column, Records
from trainer.data.tables import DataError, Table, join_names, make_table

IDX_SUFFIXES = ("-images-idx3-ubyte", "-images-idx3-ubyte.gz")
PICTURES = 1024  # in memory at a time, before they are stored
UNSIGNED_BYTES = 0x08  # the type in the third byte of an IDX file, as its inventors number them
TRAIN, JUDGED = "train", "t10k"  # what MNIST's files begin with


def read_npz(path: Path, reading: ReadOptions) -> Table:
    """The table in arrays `X`, numbers `(n, columns)`, NaN for a gap, and `y`.

    Args:
        path: of the file.
        reading: says the task, and which of the columns `x0`, `x1` … are kept in float32 or float64
            whatever float32 would make of their values.

    Raises:
        DataError: they are not there, of other shapes or types, or the file is damaged.
    """
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
            missing = [key for key in ("X", "y") if key not in file.files]
            if missing:
                raise DataError(
                    f"{path.name}: expected arrays named X and y; got {', '.join(file.files)}"
                )
            X, y = file["X"], file["y"]
    except DataError:
        raise
    except (OSError, EOFError, BadZipFile, NotImplementedError, ValueError, zlib.error) as error:
        raise DataError(
            f"{path.name}: expected plain arrays, as np.savez writes them; got a damaged file or "
            f"an array of Python objects; convert text with .astype(str)"
        ) from error
    if y.ndim not in (1, 2) or 0 in y.shape:
        raise DataError(
            f"{path.name}: expected y of shape (rows,) or (rows, targets), none of them 0; "
            f"got {y.shape}"
        )
    if X.ndim != 2 or X.dtype.kind not in "fiub":
        raise DataError(
            f"{path.name}: expected X as numbers of shape (rows, columns); got {X.dtype} {X.shape}"
        )
    names = [f"x{i}" for i in range(X.shape[1])]
    said = reading.kinds()
    if unknown := [name for name in said if name not in names]:
        raise DataError(
            f"{path.name}: expected names of columns from 'x0' to {names[-1]!r}; got "
            f"{join_names(unknown)}"
        )
    if reading.precise and X.dtype.kind == "f" and X.dtype.itemsize < np.dtype(np.float64).itemsize:
        raise DataError(
            f"{path.name}: expected X in float64 for precise columns, since {X.dtype} makes the "
            f"same of different values; write it in float64, or leave them out"
        )
    losses = measure_precision_losses(names, X)
    precise = {name for name, loss in losses.items() if loss.needs_float64 and name not in said}
    precise.update(reading.precise)
    n_targets = 1 if y.ndim == 1 else y.shape[1]
    return make_table(
        source=path.name,
        records=Records.of_matrix(names, X, precise),
        target=y,
        target_names=("y",) if n_targets == 1 else tuple(f"y{i}" for i in range(n_targets)),
        task=reading.task,
        losses=tuple(losses.values()),
    )


def find_idx(path: Path) -> Path | None:
    """The images file that `path` is, or that of the training rows in the folder it is."""
    if path.is_dir():
        found = [path / f"{TRAIN}{suffix}" for suffix in IDX_SUFFIXES]
        return next((file for file in found if file.is_file()), None)
    return path if path.name.lower().endswith(IDX_SUFFIXES) else None


def read_idx(images: Path, task: str | None) -> Table:
    """The table in an images file and the labels file beside it.

    A row is a picture, its columns the pixels `1x1`, `1x2` …, line by line, from 0 to 255. If the
    file is `train-…` and there are `t10k-…` files beside it, those rows are the judged ones.

    Raises:
        DataError: a labels file is not there, a file is damaged, or they do not fit together.
    """
    parts = [images]
    if images.name.startswith(TRAIN):
        beside = images.with_name(JUDGED + images.name.removeprefix(TRAIN))
        parts += [other for other in _either(beside) if other.is_file()][:1]
    shapes = [_shape(part, 3) for part in parts]
    if len({shape[1:] for shape in shapes}) > 1:
        raise DataError(
            f"{images.name}: expected pictures of one size in the rows to learn from and to be "
            f"judged on; got {shapes[0][1:]} and {shapes[1][1:]}"
        )
    _, height, width = shapes[0]
    rows = (sum(shape[0] for shape in shapes), height * width)
    pixels = np.dtype(np.float32)
    labels = np.concatenate([_labels(part, n) for part, (n, *_) in zip(parts, shapes, strict=True)])
    in_file = math.prod(rows) * pixels.itemsize > IN_MEMORY
    with closing(Store(rows, pixels, in_file=in_file)) as store:
        for part, (n, *_) in zip(parts, shapes, strict=True):
            _copy_pixels(part, n, height * width, store)
        numbers = store.array()
    columns = [f"{i}x{j}" for i in range(1, height + 1) for j in range(1, width + 1)]
    table = make_table(
        source=images.name,
        records=Records(tuple(map(Column, columns)), numbers),
        target=labels.astype(np.int64),
        target_names=("label",),
        task=task,
    )
    return replace(table, test_rows=shapes[1][0] if len(shapes) > 1 else 0)


def _either(path: Path) -> tuple[Path, Path]:
    """The path, packed and not."""
    plain = path.with_name(re.sub(r"\.gz$", "", path.name, flags=re.IGNORECASE))
    return plain, plain.with_name(f"{plain.name}.gz")


def _labels(images: Path, n: int) -> NDArray[np.uint8]:
    name = re.sub("-images-idx3-", "-labels-idx1-", images.name, flags=re.IGNORECASE)
    path = next((p for p in _either(images.with_name(name)) if p.is_file()), None)
    if path is None:
        raise DataError(f"{images.name}: expected its labels in {name} beside it; got no such file")
    (count,) = _shape(path, 1)
    if count != n:
        raise DataError(f"{images.name}: expected as many labels as pictures; got {count} and {n}")
    with _opened(path) as stream:
        stream.read(8)
        return np.frombuffer(_exactly(path, stream, n), np.uint8)


def _copy_pixels(path: Path, n: int, width: int, store: Store) -> None:
    with _opened(path) as stream:
        stream.read(16)
        for start in range(0, n, PICTURES):
            rows = min(PICTURES, n - start)
            block = np.frombuffer(_exactly(path, stream, rows * width), np.uint8)
            store.append(block.reshape(rows, width).astype(np.float32))


def _shape(path: Path, n_axes: int) -> tuple[int, ...]:
    """What the header says: two zeros, the type, the number of axes, their lengths; big-endian."""
    with _opened(path) as stream:
        head = _exactly(path, stream, 4 + 4 * n_axes)
    if head[:4] != bytes([0, 0, UNSIGNED_BYTES, n_axes]):
        raise DataError(
            f"{path.name}: expected an IDX file of unsigned bytes of {n_axes} axes; got one that "
            f"begins with {head[:4].hex()}"
        )
    return tuple(np.frombuffer(head[4:], ">u4").tolist())


def _opened(path: Path) -> IO[bytes]:
    stream: Any = gzip.open(path) if path.suffix.lower() == ".gz" else path.open("rb")  # noqa: SIM115
    found: IO[bytes] = stream
    return found


def _exactly(path: Path, stream: IO[bytes], size: int) -> bytes:
    try:
        content = stream.read(size)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path.name}: expected a readable file; {error}") from error
    if len(content) < size:
        raise DataError(
            f"{path.name}: expected {size} more bytes; got {len(content)}: it breaks off"
        )
    return content
