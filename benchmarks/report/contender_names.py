"""Names: how the sides of the benchmarks are called where they are shown."""

from __future__ import annotations

NAMES = {
    "ours": "forwardpass",
    "ours-int8": "forwardpass, `int8`",
    "ours-pruned-int8": "forwardpass, `pruned-int8`",
    "ours-binary": "forwardpass, binary tensors",
    "ours-unbatched": "forwardpass, `--max-batch-rows 1`",
    "ours-stock-worker": "forwardpass, gunicorn's gevent worker",
    "ours-numpy": "forwardpass, NumPy alone",
    "triton": "Triton, Python backend",
    "triton-binary": "Triton, binary tensors",
    "mosec": "Mosec",
    "mosec-batching": "Mosec, batching",
    "mosec-batching-64": "Mosec, batching up to 64",
    "fastapi": "FastAPI, uvicorn",
    "mlserver": "MLServer",
    "litserve": "LitServe",
    "bentoml": "BentoML",
    "ray": "Ray Serve",
    "constant": "a constant, under our worker",
    "products": "the matrix products alone",
    "torch-eager": "PyTorch, eager",
    "torch-fused": "PyTorch, fused Adam",
    "sklearn": "scikit-learn",
}
BOUNDS = ("constant", "products")  # what nobody can pass, and no rival


def named(side: str) -> str:
    """A side's name; what is not known keeps its own."""
    return NAMES.get(side, side)


def is_ours(side: str) -> bool:
    """Whether a side is this project."""
    return side == "ours" or side.startswith("ours-")


def is_rival(side: str) -> bool:
    """Whether a side is another project."""
    return not is_ours(side) and side not in BOUNDS


def pair(key: str) -> tuple[str, str]:
    """The two sides of a ratio, as the results name it: `ours / fastapi`."""
    mine, other = key.split(" / ")
    return mine, other


def in_order(sides: set[str]) -> list[str]:
    """Sides as they are listed above, then the unknown ones."""
    known = list(NAMES)
    return sorted(sides, key=lambda s: (known.index(s) if s in known else len(known), s))
