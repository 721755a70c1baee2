from dataclasses import dataclass

import pyarrow as pa
import pytest

from serving.bundle import DEFAULT_GAP_TEXTS


@dataclass
class BatchSource:
    """A `FileSource` of batches in memory, which counts how many of them are read."""

    batches: list
    name: str = "rows"
    gaps: tuple = DEFAULT_GAP_TEXTS
    n_batches_read: int = 0

    @property
    def columns(self):
        return tuple(self.batches[0].schema.names)

    index = ()

    def name_rows(self, *rows):
        return [f"row {row + 1}" for row in rows]

    def iter_batches(self):
        for batch in self.batches:
            self.n_batches_read += 1
            yield batch


@pytest.fixture
def create_source():
    """Return a function that creates a source of one batch for each dictionary of columns."""
    return lambda *parts: BatchSource([pa.RecordBatch.from_pydict(part) for part in parts])


@pytest.fixture
def write(tmp_path):
    """Return a function that writes a file and returns its path."""

    def write(name, content):
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return write
