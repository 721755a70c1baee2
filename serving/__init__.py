"""What answers: a Flask service over the bundles that `trainer` writes.

A request goes one way: `routes` → `predict` → `codec` and `repository` → `runtime`. `bundle` is the
contract with the trainer; `errors` maps every fault to one HTTP status; `settings` declares every
knob once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from serving.http.app import create_app

__all__ = ["create_app"]


def __getattr__(name: str) -> Any:
    # On demand, so that the trainer can read `serving.bundle` without loading a web framework.
    if name == "create_app":
        from serving.http.app import create_app  # noqa: PLC0415

        return create_app
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
