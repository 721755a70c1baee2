"""Make manifests of models that were never trained, with the figures that a test needs."""

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
    """Return the manifest of a model with 70 training, 10 validation and 20 test rows.

    Args:
        test: Metrics on the test rows and on the validation rows, by name.
        classes: Classes; None for regression. All but the first have a share of 5 %.
        baselines: Metrics by the name of the baseline.
        variants: Classes that a variant never answers, by its name; None for one fp32 variant.
        config: Options of the training.
        **more: Other fields of the manifest, which replace the ones above.
    """
    task = "regression" if classes is None else "binary" if len(classes) == 2 else "multiclass"
    shares = None if classes is None else [1 - 0.05 * (len(classes) - 1)]
    shares = shares and shares + [0.05] * (len(classes) - 1)
    never_answered = variants or {"fp32": None}
    fields = {
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
                never_answered=classes_of_variant,
            )
            for name, classes_of_variant in never_answered.items()
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
    return Manifest.model_validate(fields | more)
