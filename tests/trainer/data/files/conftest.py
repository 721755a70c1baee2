from dataclasses import dataclass

import pyarrow as pa
import pytest

from serving.bundle import DEFAULT_GAP_TEXTS


@dataclass
class Rows:
    """A source of the batches given, which counts how many are asked for."""

    given: list
    name: str = "rows"
    gaps: tuple = DEFAULT_GAP_TEXTS
    asked: int = 0

    @property
    def columns(self):
        return tuple(self.given[0].schema.names)

    index = ()

    def row_names(self, *rows):
        return [f"row {row + 1}" for row in rows]

    def batches(self):
        for batch in self.given:
            self.asked += 1
            yield batch


@pytest.fixture
def rows():
    """A source of one batch for each dictionary of columns."""
    return lambda *parts: Rows([pa.RecordBatch.from_pydict(part) for part in parts])


@pytest.fixture
def write(tmp_path):
    def write(name, content):
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return write
