"""`trainer verify`: replay a bundle's self-test on this machine."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any

import click

from serving.bundle import (
    MANIFEST_FILE,
    STAGED_PREFIX,
    Bundle,
    BundleError,
    list_staged_versions,
    list_versions,
)
from serving.runtime import SelfTestResult, run_self_test


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="print one JSON object instead of a summary")
def verify(bundle: Path, as_json: bool) -> None:
    """Replay a bundle's self-test on this machine.

    BUNDLE is models/NAME or models/NAME/VERSION. Exit status 0 only if every file is the one
    exported and every variant reproduces its answers.
    """
    try:
        opened = Bundle.open(version_folder(bundle))
        for file in opened.checksums:
            opened.read_file(file)
    except (BundleError, OSError) as error:
        if as_json:
            report = {"bundle": str(bundle), "passed": False, "reason": str(error)}
            click.echo(json.dumps(report))
        raise click.ClickException(str(error)) from error
    proofs = [run_self_test(opened, variant) for variant in opened.manifest.variants]
    passed = all(proof.passed for proof in proofs)
    if as_json:
        report = {
            "bundle": str(opened.path),
            "passed": passed,
            "variants": {proof.variant: _verdict(proof) for proof in proofs},
        }
        click.echo(json.dumps(report))
    else:
        for proof in proofs:
            click.echo(f"{opened.path} {proof.variant}: {_sentence(proof)}")
    raise SystemExit(0 if passed else 1)


def version_folder(path: Path) -> Path:
    """The version meant by models/NAME/VERSION, or the highest of models/NAME."""
    # So that it has a name, even as `.`; links stay links.
    path = Path(os.path.abspath(path))  # noqa: PTH100
    found = list_versions(path)
    if not found and not (path / MANIFEST_FILE).is_file():
        if waiting := list_staged_versions(path):
            raise BundleError(
                f"expected a bundle, models/NAME or models/NAME/VERSION; got {path}, which holds "
                f"staged versions only; name one: {path / STAGED_PREFIX}{waiting[-1]}"
            )
        raise BundleError(
            f"expected a bundle, models/NAME or models/NAME/VERSION; got {path}, which holds none"
        )
    return path / str(found[-1]) if found else path


def _verdict(proof: SelfTestResult) -> dict[str, Any]:
    verdict: dict[str, Any] = {"passed": proof.passed, "reason": proof.failure}
    if proof.difference is not None:
        verdict |= {
            "rows": proof.difference.rows,
            "max_abs": _finite(proof.difference.max_abs),
            "max_rel": _finite(proof.difference.max_rel),
            "label_agreement": proof.difference.label_agreement,
        }
    return verdict


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None  # JSON has no word for infinity


def _sentence(proof: SelfTestResult) -> str:
    if proof.difference is None or not proof.passed:
        return f"FAILED: {proof.failure}"
    return f"reproduces, max |Δ| {proof.difference.max_abs:.1e} over {proof.difference.rows} rows"
