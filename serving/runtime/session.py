"""A session of ONNX Runtime: a loaded graph that answers batches. Nothing else imports the library.

Create sessions after fork: one inherited from a parent process hangs or crashes in the child.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serving.bundle import Arrays, concatenate_rows, iter_row_slices

MAX_PAUSE_SECONDS = 1.0  # seconds between two looks at the runs in progress


class RunWatchdog:
    """Raises the flag of runs whose time is over.

    Args:
        pause: Seconds between two looks at the runs in progress.
    """

    def __init__(self, pause: float) -> None:
        # On demand, so that the trainer does not load gevent.
        from gevent import monkey  # noqa: PLC0415

        self._pause = pause
        self._deadlines: dict[Any, float] = {}  # by the options of a run in progress
        self._sleep = monkey.get_original("time", "sleep")
        monkey.get_original("_thread", "start_new_thread")(self._watch, ())

    def start_watching(self, options: Any, seconds: float) -> None:
        """Watch a run from now on.

        Args:
            options: Its `onnxruntime.RunOptions`.
            seconds: Time it may take.
        """
        self._deadlines[options] = perf_counter() + seconds

    def stop_watching(self, options: Any) -> bool:
        """Stop watching a run. Return whether it was in time, and its options can be used again."""
        # Taken out before the clock is read: then the thread cannot have seen it too late.
        deadline = self._deadlines.pop(options)
        return perf_counter() < deadline

    def _watch(self) -> None:
        while True:
            self._sleep(self._pause)
            now = perf_counter()
            with suppress(RuntimeError):  # the runs changed meanwhile: next time
                for options, deadline in list(self._deadlines.items()):
                    if now > deadline:
                        options.terminate = True


@cache
def get_shared_watchdog(seconds: float) -> RunWatchdog:
    """Return this process's watchdog of runs with such a limit. To be called after fork."""
    return RunWatchdog(min(seconds / 4, MAX_PAUSE_SECONDS))


# The element types a graph's input may have, in NumPy's words.
_DTYPE_BY_TENSOR_TYPE = {
    "tensor(float)": "float32",
    "tensor(double)": "float64",
    "tensor(string)": "str",
}


@cache
def _import_onnxruntime() -> Any:
    """The library, loaded when a process makes its first session.

    So that one which forks can import all else for its children: the library has threads.
    """
    # Before the import: it looks up a telemetry host as it loads.
    if not os.environ.get("ORT_DISABLE_TELEMETRY", "").strip():  # blank is unset
        os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    import onnxruntime  # noqa: PLC0415

    return onnxruntime


@cache
def _list_runtime_errors() -> tuple[type[Exception], ...]:
    """What the library raises: its exceptions share no base class; wrong arrays end in Python's."""
    own = vars(_import_onnxruntime().capi.onnxruntime_pybind11_state).values()
    return (
        *(e for e in own if isinstance(e, type) and issubclass(e, Exception)),
        RuntimeError,
        TypeError,
        ValueError,
    )


class GraphError(Exception):
    """ONNX Runtime refuses the graph, or a run of it; the message is the runtime's."""


class RunTimeoutError(GraphError):
    """A run took longer than it may, and was ended."""


class GraphSession:
    """A loaded graph. Safe to run from several threads at once.

    Args:
        graph: the ONNX file's content.
        threads: threads of one run.
        run_seconds: Longest time of one run, in seconds; None for no limit. It is ended at the
            next operator, up to a quarter of that later, or a second.

    Attributes:
        inputs: the graph's inputs: of each name the dtype, `float32`, `float64` or `str`, or the
            runtime's own word for another.
        outputs: names of the graph's outputs.

    Raises:
        GraphError: the graph does not load.
    """

    def __init__(self, graph: bytes, *, threads: int = 1, run_seconds: float | None = None) -> None:
        onnxruntime = _import_onnxruntime()
        options = onnxruntime.SessionOptions()
        # Sized by us: the runtime's own pools follow the host's cores, not the container's share.
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
        options.log_severity_level = 4  # none: errors are raised, and standard error is not our log
        try:
            self._session = onnxruntime.InferenceSession(
                graph, options, providers=["CPUExecutionProvider"]
            )
        except _list_runtime_errors() as error:
            raise GraphError(f"ONNX Runtime does not load the graph: {error}") from error
        nodes = self._session.get_inputs()
        self.inputs = {
            node.name: _DTYPE_BY_TENSOR_TYPE.get(node.type, str(node.type)) for node in nodes
        }
        self.outputs = [node.name for node in self._session.get_outputs()]
        self._run_seconds = run_seconds
        self._watchdog = None if run_seconds is None else get_shared_watchdog(run_seconds)
        self._spare_options: list[Any] = []  # of runs that are over, as making some takes a while

    def run(self, inputs: Mapping[str, NDArray[Any]]) -> Arrays:
        """The graph's outputs for a batch of inputs, by name.

        Raises:
            GraphError: the inputs do not fit the graph.
            RunTimeoutError: If the run took longer than `run_seconds`.
        """
        try:
            if self._watchdog is None:
                results = self._session.run(None, inputs)
            else:
                results = self._run_watched(self._watchdog, inputs)
        except _list_runtime_errors() as error:
            raise GraphError(f"ONNX Runtime does not run the graph: {error}") from error
        # Text comes out as objects; as str it can be compared and gathered like any array.
        arrays = (r.astype(np.str_) if r.dtype == object else r for r in results)
        return dict(zip(self.outputs, arrays, strict=True))

    def _run_watched(self, watchdog: RunWatchdog, inputs: Mapping[str, NDArray[Any]]) -> list[Any]:
        spare = self._spare_options
        options = spare.pop() if spare else _import_onnxruntime().RunOptions()
        watchdog.start_watching(options, self._run_seconds or 0)
        results: list[Any] = []
        failure: Exception | None = None
        try:
            results = self._session.run(None, inputs, options)
        except _list_runtime_errors() as error:
            failure = error
        finally:
            is_in_time = watchdog.stop_watching(options)
        if is_in_time:
            spare.append(options)
        elif failure is not None:
            raise RunTimeoutError(
                f"expected a run of at most {self._run_seconds:g} s; got a longer one, which "
                f"was stopped; send fewer rows or raise --run-seconds"
            ) from failure
        if failure is not None:
            raise failure
        return results


def run_in_slices(session: GraphSession, inputs: Arrays, size: int) -> Arrays:
    """The graph's outputs for all rows, given to it so many at a time; raises as `run` does.

    What the runtime once took for a large batch, it keeps.
    """
    return concatenate_rows([session.run(part) for part in iter_row_slices(inputs, size)])
