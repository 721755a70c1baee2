"""Statistics of a model in Triton's protocol, summed over all workers.

https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_statistics.md
What this server does not count is left out, rather than given as zero.
"""

from __future__ import annotations

from typing import Any

from serving.telemetry.metric_definitions import REQUESTS, ROWS_ANSWERED, STAGE_SECONDS
from serving.telemetry.shared_counters import SharedCounters

# Triton's name of each stage of a request.
TRITON_STAGES = {
    "queue": "queue",
    "decode": "compute_input",
    "run": "compute_infer",
    "encode": "compute_output",
}


class ModelStatistics:
    """Statistics of all models, as of now.

    Args:
        table: Counters of all workers.
    """

    def __init__(self, table: SharedCounters) -> None:
        totals = table.totals()
        self._requests = totals.get(REQUESTS.name, {})
        self._rows = totals.get(ROWS_ANSWERED.name, {})
        self._stages = totals.get(STAGE_SECONDS.name, {})

    def of(self, name: str, version: int) -> dict[str, Any]:
        """Return the statistics of one version since the server started.

        Times of stages are counted by model, not by version. They are included only as long as no
        other version of the model has received a request.
        """
        counts = {"success": 0, "fail": 0}
        versions = set()
        for (_, model, asked, _, code), (count,) in self._requests.items():
            if model == name:
                versions.add(asked)
                if asked == str(version):
                    counts["success" if int(code) < 400 else "fail"] += int(count)
        inferences: dict[str, Any] = {outcome: {"count": n} for outcome, n in counts.items()}
        if versions <= {str(version)}:
            inferences |= {
                key: self._sum_stage(stage, name) for stage, key in TRITON_STAGES.items()
            }
        rows = sum(
            count
            for (_, *labels, _), (count,) in self._rows.items()
            if labels == [name, str(version)]
        )
        return {
            "name": name,
            "version": str(version),
            "inference_count": int(rows),
            "inference_stats": inferences,
        }

    def _sum_stage(self, stage: str, name: str) -> dict[str, int]:
        count = seconds = 0.0
        for (found, _, model), (*buckets, total) in self._stages.items():
            if (found, model) == (stage, name):
                count += sum(buckets)
                seconds += total
        return {"count": int(count), "ns": round(seconds * 1e9)}
