"""Names of the contenders as they are shown, and which of them are this project."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

Ratio = TypeVar("Ratio")

DISPLAY_NAMES = {
    "ours": "forwardpass",
    "ours-int8": "forwardpass (`int8`)",
    "ours-pruned-int8": "forwardpass (`pruned-int8`)",
    "ours-binary": "forwardpass with binary tensors",
    "ours-pruned-int8-binary": "forwardpass (`pruned-int8`) with binary tensors",
    "ours-unbatched": "forwardpass with `--max-batch-rows 1`",
    "ours-stock-worker": "forwardpass with gunicorn's gevent worker",
    "ours-numpy": "forwardpass (NumPy alone)",
    "triton": "Triton (Python backend)",
    "triton-binary": "Triton with binary tensors",
    "mosec": "Mosec",
    "mosec-batching": "Mosec with batching",
    "mosec-batching-64": "Mosec with batching up to 64",
    "fastapi": "FastAPI + uvicorn",
    "mlserver": "MLServer",
    "litserve": "LitServe",
    "bentoml": "BentoML",
    "ray": "Ray Serve",
    "constant": "a constant answer from our worker",
    "products": "the matrix products alone",
    "torch-eager": "PyTorch (eager)",
    "torch-fused": "PyTorch with fused Adam",
    "sklearn": "scikit-learn",
    "best": "forwardpass (`best`)",
    "balanced": "forwardpass (`balanced`)",
    "fast": "forwardpass (`fast`)",
    "lightgbm": "LightGBM",
    "catboost": "CatBoost",
    "xgboost": "XGBoost",
    "histgradientboosting": "HistGradientBoosting",
    "mlp": "scikit-learn's MLP",
}
LIMITS = ("constant", "products")  # limits that no implementation can exceed; no rivals


def get_display_name(name: str) -> str:
    """Return the name to show for a contender; an unknown one keeps its own."""
    return DISPLAY_NAMES.get(name, name)


def is_ours(name: str) -> bool:
    """Return whether a contender is this project."""
    return name == "ours" or name.startswith("ours-")


def is_rival(name: str) -> bool:
    """Return whether a contender is another project."""
    return not is_ours(name) and name not in LIMITS


def list_rival_ratios(ratios: Mapping[str, Ratio]) -> list[tuple[str, str, Ratio]]:
    """Return our contender, the rival and the ratio, for each ratio to another project."""
    triples = [(*split_ratio_name(name), ratio) for name, ratio in ratios.items()]
    return [(o, other, ratio) for o, other, ratio in triples if is_ours(o) and is_rival(other)]


def split_ratio_name(name: str) -> tuple[str, str]:
    """Return both contenders of a ratio, which the results name like `ours / fastapi`."""
    ours, other = name.split(" / ")
    return ours, other


def sort_contenders(names: set[str]) -> list[str]:
    """Return contenders in the order of `DISPLAY_NAMES`, then the unknown ones."""
    order = list(DISPLAY_NAMES)
    return sorted(names, key=lambda n: (order.index(n) if n in order else len(order), n))
