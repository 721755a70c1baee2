"""Manifests of models that were never trained, with the figures a test is about."""

from __future__ import annotations

from typing import Any

from serving.bundle import Baseline, Manifest, Parity, Variant

PARITY = Parity(rows=1, max_abs=0, max_rel=0, label_agreement=None)


def make_manifest(
    test: dict[str, float],
    *,
    classes: Any = (0, 1),
    baselines: Any = None,
    variants: Any = None,
    config: Any = None,
    **more: Any,
) -> Manifest:
    """The manifest of a model with these metrics on its 20 test rows.

    Args:
        test: the metrics.
        classes: None for regression; the first makes up what the others, of 5 % each, leave.
        baselines: metrics by the baselines' names.
        variants: by name the classes that each never answers.
        config: choices of its training.
        **more: fields of the manifest.
    """
    task = "regression" if classes is None else "binary" if len(classes) == 2 else "multiclass"
    shares = None if classes is None else [1 - 0.05 * (len(classes) - 1)]
    shares = shares and shares + [0.05] * (len(classes) - 1)
    lost = variants or {"fp32": None}
    chosen = {
        "schema_version": 2,
        "name": "made",
        "version": 1,
        "created": "",
        "task": task,
        "inputs": [
            {"name": "x", "type": "number", "missing": "refuse", "minimum": 0, "maximum": 1}
        ],
        "classes": None if classes is None else list(classes),
        "class_shares": shares,
        "threshold": 0.5 if task == "binary" else None,
        "parameters": 1,
        "metrics": {"validation": test, "test": test},
        "baselines": {
            name: Baseline(metrics=metrics, rows=70) for name, metrics in (baselines or {}).items()
        },
        "variants": {
            name: Variant(
                file="model.onnx",
                sha256="0" * 64,
                size_bytes=1,
                metrics=test,
                parity=PARITY,
                latency_us={},
                never_answered=never,
            )
            for name, never in lost.items()
        },
        "files": {"selftest.npz": "0" * 64, "reference.json": "0" * 64},
        "data": {
            "source": "",
            "fingerprint": "",
            "target": ["y"],
            "rows": {"train": 70, "validation": 10, "test": 20},
        },
        "training": {"config": config or {}, "epochs_run": 1, "best_epoch": 1, "seconds": 1},
        "libraries": {},
    }
    return Manifest.model_validate(chosen | more)
