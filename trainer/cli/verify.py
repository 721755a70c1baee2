"""`trainer verify`: run a bundle's self-test on this machine."""

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
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of text")
def verify(bundle: Path, as_json: bool) -> None:
    """Run a bundle's self-test on this machine.

    BUNDLE is models/NAME or models/NAME/VERSION. The exit status is 0 only if no file has changed
    since the export and every variant reproduces the expected answers.
    """
    try:
        opened = Bundle.open(find_version_folder(bundle))
        for file in opened.checksums:
            opened.read_file(file)
    except (BundleError, OSError) as error:
        if as_json:
            report = {"bundle": str(bundle), "passed": False, "reason": str(error)}
            click.echo(json.dumps(report))
        raise click.ClickException(str(error)) from error
    results = [run_self_test(opened, variant) for variant in opened.manifest.variants]
    has_passed = all(result.passed for result in results)
    if as_json:
        report = {
            "bundle": str(opened.path),
            "passed": has_passed,
            "variants": {result.variant: _result_to_json(result) for result in results},
        }
        click.echo(json.dumps(report))
    else:
        for result in results:
            click.echo(f"{opened.path} {result.variant}: {_describe_result(result)}")
    raise SystemExit(0 if has_passed else 1)


def find_version_folder(path: Path) -> Path:
    """Return the folder of a version.

    Args:
        path: Folder models/NAME/VERSION, or models/NAME for its highest version.

    Raises:
        BundleError: If there is no version that is not staged.
    """
    # An absolute path has a name, even for `.`; unlike with `resolve`, links remain.
    path = Path(os.path.abspath(path))  # noqa: PTH100
    versions = list_versions(path)
    if not versions and not (path / MANIFEST_FILE).is_file():
        if staged := list_staged_versions(path):
            raise BundleError(
                f"expected a bundle, models/NAME or models/NAME/VERSION; got {path}, which holds "
                f"staged versions only; name one: {path / STAGED_PREFIX}{staged[-1]}"
            )
        raise BundleError(
            f"expected a bundle, models/NAME or models/NAME/VERSION; got {path}, which holds none; "
            f"give the folder that trainer fit printed"
        )
    return path / str(versions[-1]) if versions else path


def _result_to_json(result: SelfTestResult) -> dict[str, Any]:
    report: dict[str, Any] = {"passed": result.passed, "reason": result.failure}
    if result.difference is not None:
        report |= {
            "rows": result.difference.rows,
            "max_abs": _replace_infinity(result.difference.max_abs),
            "max_rel": _replace_infinity(result.difference.max_rel),
            "label_agreement": result.difference.label_agreement,
        }
    return report


def _replace_infinity(value: float) -> float | None:
    return value if math.isfinite(value) else None  # JSON has no NaN and no infinity


def _describe_result(result: SelfTestResult) -> str:
    if result.difference is None or not result.passed:
        return f"FAILED: {result.failure}"
    return (
        f"reproduces the expected answers to {result.difference.rows} rows, to within "
        f"{result.difference.max_abs:.1e}"
    )
