"""Load ONNX graphs and run them. This is the only module that imports ONNX Runtime.

Create sessions after fork: a session that a process inherits from its parent hangs or crashes.
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

MAX_PAUSE_SECONDS = 1.0  # longest pause between two checks of the runs in progress
# NumPy's names of the element types that a graph's input may have.
_DTYPE_BY_TENSOR_TYPE = {
    "tensor(float)": "float32",
    "tensor(double)": "float64",
    "tensor(string)": "str",
}


class RunWatchdog:
    """Ends runs of ONNX Runtime that take too long.

    A run is one call into the library, which blocks the worker's event loop and which Python cannot
    interrupt. Between two operators, though, the library checks a flag of the run's options. A
    native thread, which gevent does not control, sets that flag.

    Args:
        pause: Time between two checks of the runs in progress, in seconds.
    """

    def __init__(self, pause: float) -> None:
        # Imported here so that the trainer, which sets no limit, does not load gevent.
        from gevent import monkey  # noqa: PLC0415

        self._pause = pause
        # Deadline of each run in progress, by its RunOptions, in seconds of perf_counter.
        self._deadlines: dict[Any, float] = {}
        self._sleep = monkey.get_original("time", "sleep")
        self._start_thread = monkey.get_original("_thread", "start_new_thread")

    def start(self) -> None:
        """Start the thread that ends late runs. Call it once, after fork."""
        self._start_thread(self._watch, ())

    def start_watching(self, options: Any, seconds: float) -> None:
        """Watch a run that is about to start.

        Args:
            options: `onnxruntime.RunOptions` of the run.
            seconds: Longest time of the run, in seconds.
        """
        self._deadlines[options] = perf_counter() + seconds

    def stop_watching(self, options: Any) -> bool:
        """Stop watching a run that has ended.

        Args:
            options: `onnxruntime.RunOptions` of the run.

        Returns:
            Whether the run ended in time, so that its options can be used for another run.
        """
        # Remove the deadline before reading the clock. If the deadline has not passed by then, the
        # watchdog thread cannot have set `terminate`.
        deadline = self._deadlines.pop(options)
        return perf_counter() < deadline

    def _watch(self) -> None:
        while True:
            self._sleep(self._pause)
            now = perf_counter()
            # If the runs change during the iteration, the next check sees them.
            with suppress(RuntimeError):
                for options, deadline in list(self._deadlines.items()):
                    if now > deadline:
                        options.terminate = True


# Per process, since its thread never ends and serves any number of sessions: one for each session
# would leave a thread behind with every model that is replaced. It is created on the first use,
# since threads do not survive the fork of the workers.
@cache
def get_shared_watchdog(seconds: float) -> RunWatchdog:
    """Return the watchdog of this process for runs with a time limit. Call it only after fork.

    Args:
        seconds: Longest time of a run, in seconds.
    """
    watchdog = RunWatchdog(min(seconds / 4, MAX_PAUSE_SECONDS))
    watchdog.start()
    return watchdog


# Cached because runs call it, too. A module is per process anyway, in `sys.modules`.
@cache
def _import_onnxruntime() -> Any:
    """Import ONNX Runtime and return the module. Call it only when a session is created.

    The library starts threads, which do not survive a fork. So a process that forks workers may
    import the module `session` for them, but must not import the library.
    """
    # Set the variable first: without it, importing ONNX Runtime looks up a telemetry host.
    if not os.environ.get("ORT_DISABLE_TELEMETRY", "").strip():
        os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    import onnxruntime  # noqa: PLC0415

    return onnxruntime


# Per process, since the library has the same classes for as long as the process lives.
@cache
def _list_runtime_errors() -> tuple[type[Exception], ...]:
    """Return the exceptions of ONNX Runtime, which share no base class, and those of its bindings.

    The Python bindings raise built-in exceptions when arrays have the wrong type.
    """
    members = vars(_import_onnxruntime().capi.onnxruntime_pybind11_state).values()
    return (
        *(e for e in members if isinstance(e, type) and issubclass(e, Exception)),
        RuntimeError,
        TypeError,
        ValueError,
    )


class GraphError(Exception):
    """ONNX Runtime cannot load or run the graph. The message includes that of the library."""


class RunTimeoutError(GraphError):
    """A run was ended because it took too long."""


class GraphSession:
    """A loaded graph, which several threads may run at the same time.

    Args:
        graph: Content of the ONNX file.
        threads: Number of threads of one run.
        run_seconds: Longest time of one run, in seconds; None for no limit. A longer run is stopped
            between two operators. The time is checked every `run_seconds / 4`, at least once a
            second, so a run may exceed the limit by that plus the duration of one operator.

    Attributes:
        inputs: Dtype of each of the graph's inputs by name: `float32`, `float64` or `str`, or ONNX
            Runtime's name of any other type.
        outputs: Names of the graph's outputs.

    Raises:
        GraphError: If ONNX Runtime cannot load the graph.
    """

    def __init__(self, graph: bytes, *, threads: int = 1, run_seconds: float | None = None) -> None:
        onnxruntime = _import_onnxruntime()
        options = onnxruntime.SessionOptions()
        # By default the library starts a thread for each core of the host, even if the container
        # may use fewer.
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
        # Log nothing: errors are raised, and the library's log would go to standard error.
        options.log_severity_level = 4
        try:
            self._session = onnxruntime.InferenceSession(
                graph, options, providers=["CPUExecutionProvider"]
            )
        except _list_runtime_errors() as error:
            raise GraphError(f"ONNX Runtime cannot load the graph: {error}") from error
        nodes = self._session.get_inputs()
        self.inputs = {
            node.name: _DTYPE_BY_TENSOR_TYPE.get(node.type, str(node.type)) for node in nodes
        }
        self.outputs = [node.name for node in self._session.get_outputs()]
        self._run_seconds = run_seconds
        self._watchdog = None if run_seconds is None else get_shared_watchdog(run_seconds)
        self._spare_options: list[Any] = []  # reused, because creating RunOptions is slow

    def run(self, inputs: Mapping[str, NDArray[Any]]) -> Arrays:
        """Run the graph on a batch.

        Args:
            inputs: Arrays by the names of the graph's inputs, with the row as the first axis.

        Returns:
            Arrays by the names of the graph's outputs.

        Raises:
            GraphError: If the inputs do not fit the graph.
            RunTimeoutError: If the run took longer than `run_seconds`.
        """
        try:
            if self._watchdog is None:
                results = self._session.run(None, inputs)
            else:
                results = self._run_watched(self._watchdog, inputs)
        except _list_runtime_errors() as error:
            raise GraphError(f"ONNX Runtime cannot run the graph: {error}") from error
        # Texts are returned as objects. Arrays of str can be compared and indexed like any other.
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
    """Run a graph on many rows, `size` rows at a time, and return the outputs of all rows.

    ONNX Runtime never frees the memory that a large batch once needed, so batches are kept small.

    Args:
        session: Session of the graph.
        inputs: Arrays by the names of the graph's inputs, with the row as the first axis.
        size: Number of rows of each run.

    Raises:
        GraphError: If the inputs do not fit the graph.
        RunTimeoutError: If a run took longer than the session allows.
    """
    return concatenate_rows([session.run(part) for part in iter_row_slices(inputs, size)])
