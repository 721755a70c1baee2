import json
from pathlib import Path

import numpy as np
import pytest


@pytest.fixture(scope="session")
def torch():
    """What PyTorch computes (see tests/golden/make.py), its lists as arrays."""
    path = Path(__file__).parent.parent.parent / "golden" / "torch.json"
    return _arrays(json.loads(path.read_text()))


def _arrays(value):
    if isinstance(value, dict):
        return {key: _arrays(v) for key, v in value.items()}
    return np.array(value) if isinstance(value, list) else value
