"""Each setting reaches the part that uses it, and no other: all values differ."""

import pytest

import serving
from serving import create_app
from serving.bundle import BundleLimits
from serving.http.app import _build_proof_limits
from serving.runtime import ProofLimits
from serving.settings.options import Settings


def test_build_proof_limits_distinct_settings_reach_their_fields():
    settings = Settings(
        max_manifest_bytes=1001,
        max_selftest_bytes=1002,
        max_graph_bytes=1003,
        allow_loops=True,
        run_seconds=4,
        proof_seconds=5,
        max_proof_memory=1006,
        max_batch_rows=1007,
    )
    assert _build_proof_limits(settings) == ProofLimits(
        BundleLimits(manifest_bytes=1001, selftest_bytes=1002, graph_bytes=1003, allow_loops=True),
        max_batch_rows=1007,
        run_seconds=4,
        proof_seconds=5,
        memory_bytes=1006,
    )
    # Self-tests run at least as many rows as the latency measurements do.
    assert _build_proof_limits(Settings(max_batch_rows=3)).max_batch_rows == 256


def test_create_app_queue_settings_reach_the_batcher(shipped):
    app = create_app(
        models=shipped, max_batch_rows=11, max_delay=0.25, queue_rows=13, queue_seconds=14
    )
    server = app.wsgi_app._app._server
    batcher = server.predictor.batcher
    found = batcher.max_batch_rows, batcher.max_delay, batcher.queue_rows, batcher.queue_seconds
    assert found == (11, 0.25, 13, 14)
    assert server.repository.find_model("digits").manifest.version == 1


def test_package_unknown_attribute_raises():
    with pytest.raises(AttributeError, match="has no attribute 'create_application'"):
        serving.create_application  # noqa: B018
