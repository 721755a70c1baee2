"""Scratch arrays that are allocated once and reused, so that a training step allocates nothing."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray


class Buffers:
    """Named scratch arrays, each as large as the largest batch so far; smaller batches get a view.

    Attributes:
        workspace: Arrays of the last batch, in an order that the owner chooses; empty at first. It
            saves the owner several lookups per batch.
    """

    def __init__(self) -> None:
        self.workspace: tuple[NDArray[Any], ...] = ()
        self._arrays: dict[object, NDArray[Any]] = {}
        self._views: dict[tuple[object, tuple[int, ...]], NDArray[Any]] = {}

    def get(self, name: str, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
        """Return an array of this shape and dtype, with arbitrary content."""
        view = self._views.get((name, shape))
        if view is None or view.dtype != dtype:
            view = self._allocate(name, shape, dtype)
        return view

    def full(self, value: float, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
        """Return an array of this shape and dtype filled with `value`, to be read only."""
        view = self._views.get((value, shape))
        if view is None or view.dtype != dtype:
            view = self._allocate(value, shape, dtype)
            view.fill(value)
        return view

    def __reduce__(self) -> tuple[type[Buffers], tuple[()]]:
        return Buffers, ()  # A copy starts empty and allocates its own arrays.

    def _allocate(self, name: object, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
        array = self._arrays.get(name)
        if (
            array is None
            or array.dtype != dtype
            or len(array) < shape[0]
            or array.shape[1:] != shape[1:]
        ):
            array = self._arrays[name] = np.empty(shape, dtype)
            self._views = {key: v for key, v in self._views.items() if key[0] != name}
        view = self._views[name, shape] = array[: shape[0]]
        return view
