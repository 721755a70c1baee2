import json
from pathlib import Path

import numpy as np
import pytest


@pytest.fixture(scope="session")
def torch():
    """Return results of PyTorch (see tests/golden/make.py), with lists as arrays."""
    path = Path(__file__).parent.parent.parent / "golden" / "torch.json"
    return _convert_lists(json.loads(path.read_text()))


def _convert_lists(value):
    if isinstance(value, dict):
        return {key: _convert_lists(v) for key, v in value.items()}
    return np.array(value) if isinstance(value, list) else value
