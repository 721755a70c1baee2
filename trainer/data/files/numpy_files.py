"""Read files of arrays into tables: NumPy's `.npz`, and IDX, the format of MNIST."""

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

from trainer.data.files.file_records import MAX_MEMORY_BYTES, RowStore
from trainer.data.precision_loss import measure_precision_losses
from trainer.data.read_options import ReadOptions
from trainer.data.records import Column, Records
from trainer.data.tables import DataError, Table, join_names, make_table

IDX_SUFFIXES = ("-images-idx3-ubyte", "-images-idx3-ubyte.gz")
TRAIN_PREFIX, TEST_PREFIX = "train", "t10k"  # of MNIST's files
IMAGES_PER_BLOCK = 1024  # images that are converted at a time
UNSIGNED_BYTES = 0x08  # the third byte of an IDX file, if its values are unsigned bytes
IDX_TYPE_BYTES, IDX_LENGTH_BYTES = (
    4,
    4,
)  # of the header: the type, and then one length for each axis


def read_npz(path: Path, options: ReadOptions) -> Table:
    """Read a table from the arrays `X`, numbers `(n, n_columns)`, NaN for a gap, and `y`.

    Args:
        path: Path of the file.
        options: The task, and the columns among `x0`, `x1` … that are kept in float32 or float64
            whether or not float32 merges their values.

    Raises:
        DataError: If an array is missing or of an unsuitable shape or type, or if the file is
            damaged.
    """
    X, y = _load_arrays(path)
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
    existing_names, kinds = set(names), options.map_kinds()
    if unknown_names := [name for name in kinds if name not in existing_names]:
        raise DataError(
            f"{path.name}: expected names of columns from 'x0' to {names[-1]!r}; got "
            f"{join_names(unknown_names)}"
        )
    if options.precise and X.dtype.kind == "f" and X.dtype.itemsize < np.dtype(np.float64).itemsize:
        raise DataError(
            f"{path.name}: expected X in float64 for precise columns, since {X.dtype} makes the "
            f"same of different values; write it in float64, or leave them out"
        )
    losses = measure_precision_losses(names, X)
    precise = {name for name, loss in losses.items() if loss.needs_float64 and name not in kinds}
    precise.update(options.precise)
    n_targets = 1 if y.ndim == 1 else y.shape[1]
    return make_table(
        source=path.name,
        records=Records.of_matrix(names, X, precise),
        target=y,
        target_names=("y",) if n_targets == 1 else tuple(f"y{i}" for i in range(n_targets)),
        task=options.task,
        losses=tuple(losses.values()),
    )


def _load_arrays(path: Path) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return the arrays `X` and `y` of a file.

    Raises:
        DataError: If one is missing, is pickled, or cannot be read.
    """
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
            if "X" not in file.files or "y" not in file.files:
                raise DataError(
                    f"{path.name}: expected arrays named X and y; got {', '.join(file.files)}"
                )
            return file["X"], file["y"]
    except DataError:
        raise
    except (OSError, EOFError, BadZipFile, NotImplementedError, ValueError, zlib.error) as error:
        raise DataError(
            f"{path.name}: expected plain arrays, as np.savez writes them; got a damaged file or "
            f"an array of Python objects; convert text with .astype(str)"
        ) from error


def find_idx(path: Path) -> Path | None:
    """Return the IDX file of images at a path; None if there is none.

    Args:
        path: Path of the file, or of a folder with the training images of MNIST.
    """
    if path.is_dir():
        candidates = [path / f"{TRAIN_PREFIX}{suffix}" for suffix in IDX_SUFFIXES]
        return next((file for file in candidates if file.is_file()), None)
    return path if path.name.lower().endswith(IDX_SUFFIXES) else None


def read_idx(images: Path, task: str | None) -> Table:
    """Read a table from an IDX file of images, and the file of labels in the same folder.

    A row is an image. Its columns are the pixels `1x1`, `1x2` …, line by line, from 0 to 255. If
    the file is `train-…` and the folder has `t10k-…` files, their rows are the test rows.

    Args:
        images: Path of the file of images.
        task: `classification` or `regression`; None to infer it, see `make_table`.

    Raises:
        DataError: If there is no file of labels, or if a file is damaged or does not fit the
            others.
    """
    files = [images]
    if images.name.startswith(TRAIN_PREFIX):
        test_images = images.with_name(TEST_PREFIX + images.name.removeprefix(TRAIN_PREFIX))
        files += [file for file in _list_variants(test_images) if file.is_file()][:1]
    shapes = [_read_shape(file, 3) for file in files]
    if len({shape[1:] for shape in shapes}) > 1:
        raise DataError(
            f"{images.name}: expected pictures of one size in the rows to learn from and to be "
            f"judged on; got {shapes[0][1:]} and {shapes[1][1:]}"
        )
    _, height, width = shapes[0]
    shape = (sum(n for n, *_ in shapes), height * width)
    dtype = np.dtype(np.float32)
    labels = np.concatenate(
        [_read_labels(file, n) for file, (n, *_) in zip(files, shapes, strict=True)]
    )
    in_file = math.prod(shape) * dtype.itemsize > MAX_MEMORY_BYTES
    with closing(RowStore(shape, dtype, in_file=in_file)) as store:
        for file, (n, *_) in zip(files, shapes, strict=True):
            _copy_pixels(file, n, height * width, store)
        pixels = store.get_array()
    names = [f"{i}x{j}" for i in range(1, height + 1) for j in range(1, width + 1)]
    table = make_table(
        source=images.name,
        records=Records(tuple(map(Column, names)), pixels),
        target=labels.astype(np.int64),
        target_names=("label",),
        task=task,
    )
    return replace(table, judged=shapes[1][0] if len(shapes) > 1 else 0)


def _list_variants(path: Path) -> tuple[Path, Path]:
    """Return the path of a file without and with the suffix `.gz`."""
    unpacked_path = path.with_name(re.sub(r"\.gz$", "", path.name, flags=re.IGNORECASE))
    return unpacked_path, unpacked_path.with_name(f"{unpacked_path.name}.gz")


def _read_labels(images: Path, n: int) -> NDArray[np.uint8]:
    """Return the labels of a file of images, uint8 `(n,)`.

    Raises:
        DataError: If their file is not there or damaged, or has another number of labels.
    """
    name = re.sub("-images-idx3-", "-labels-idx1-", images.name, flags=re.IGNORECASE)
    candidates = _list_variants(images.with_name(name))
    path = next((candidate for candidate in candidates if candidate.is_file()), None)
    if path is None:
        raise DataError(f"{images.name}: expected its labels in {name} beside it; got no such file")
    (n_labels,) = _read_shape(path, 1)
    if n_labels != n:
        raise DataError(
            f"{images.name}: expected as many labels as pictures; got {n_labels} and {n}"
        )
    with _open_bytes(path) as stream:
        stream.read(IDX_TYPE_BYTES + IDX_LENGTH_BYTES)
        return np.frombuffer(_read_exactly(path, stream, n), np.uint8)


def _copy_pixels(path: Path, n: int, n_pixels: int, store: RowStore) -> None:
    """Append `n` images of a file to a store, as rows of `n_pixels` float32."""
    with _open_bytes(path) as stream:
        stream.read(IDX_TYPE_BYTES + 3 * IDX_LENGTH_BYTES)
        for start in range(0, n, IMAGES_PER_BLOCK):
            rows = min(IMAGES_PER_BLOCK, n - start)
            block = np.frombuffer(_read_exactly(path, stream, rows * n_pixels), np.uint8)
            store.append(block.reshape(rows, n_pixels).astype(np.float32))


def _read_shape(path: Path, n_axes: int) -> tuple[int, ...]:
    """Return the shape of the array in an IDX file of unsigned bytes.

    The header is two zeros, the type, the number of axes, and the big-endian length of each axis.

    Raises:
        DataError: If the file has another header.
    """
    with _open_bytes(path) as stream:
        header = _read_exactly(path, stream, IDX_TYPE_BYTES + IDX_LENGTH_BYTES * n_axes)
    if header[:IDX_TYPE_BYTES] != bytes([0, 0, UNSIGNED_BYTES, n_axes]):
        raise DataError(
            f"{path.name}: expected an IDX file of unsigned bytes of {n_axes} axes; got one that "
            f"begins with {header[:IDX_TYPE_BYTES].hex()}"
        )
    return tuple(np.frombuffer(header[IDX_TYPE_BYTES:], ">u4").tolist())


def _open_bytes(path: Path) -> IO[bytes]:
    """Return a stream of the bytes of a file, decompressed if its name ends in `.gz`."""
    stream: Any = gzip.open(path) if path.suffix.lower() == ".gz" else path.open("rb")  # noqa: SIM115
    typed_stream: IO[bytes] = stream
    return typed_stream


def _read_exactly(path: Path, stream: IO[bytes], size: int) -> bytes:
    """Return the next `size` bytes of a stream.

    Raises:
        DataError: If they cannot be read, or the file ends before.
    """
    try:
        content = stream.read(size)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path.name}: expected a readable file; {error}") from error
    if len(content) < size:
        raise DataError(
            f"{path.name}: expected {size} more bytes; got {len(content)}: it breaks off"
        )
    return content
