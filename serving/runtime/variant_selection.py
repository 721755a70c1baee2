"""Select the variant of a bundle to serve on this machine: the fastest that passes its self-test.

CPUs differ in which variant is fastest, and even in which variants compute correct outputs. So each
variant runs its self-test on this machine, and those that pass are timed. A variant that fails is
reported and never served.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import geometric_mean
from types import MappingProxyType

from pydantic import BaseModel

from serving.bundle import Bundle, BundleError, TransientBundleError
from serving.runtime.comparison import OutputDifference
from serving.runtime.latency_profile import TIMED_BATCH_SIZES, measure_latencies
from serving.runtime.self_test import (
    DEFAULT_PROOF_LIMITS,
    ProofLimits,
    SelfTestResult,
    run_self_test,
)
from serving.runtime.session import GraphError, GraphSession

AUTO_VARIANT = "auto"  # value of --variant that serves the fastest variant
# Batch sizes of most requests, in rows. Timing larger batches would make the start too slow.
COMPARED_BATCH_SIZES = TIMED_BATCH_SIZES[:3]
# Measured times are noisy, so a variant is preferred to an earlier one only if it is at least this
# many times as fast.
MIN_SPEEDUP = 1.1
# Speedups from here on are written "2 times as fast", smaller ones "50 % faster".
MIN_SPEEDUP_AS_FACTOR = 1.995
NO_UNSAFE_VARIANTS: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True)
class VariantCheck:
    """Result of checking a variant on this machine.

    Attributes:
        failure: Reason why the variant must not be served; empty if it passed its self-test.
        difference: Difference from the expected outputs; None if the outputs were not compared.
        microseconds: Median duration of a run in µs, by its number of rows; empty if the decision
            did not require timing.
    """

    failure: str
    difference: OutputDifference | None
    microseconds: Mapping[int, float]

    @property
    def passed(self) -> bool:
        """Whether the variant passed its self-test."""
        return not self.failure


class VariantDecision(BaseModel, frozen=True):
    """The decision of one worker, which the other workers follow.

    Attributes:
        variant: Name of the variant to serve.
        reason: Explanation of the choice, as a sentence.
        microseconds: Median duration of a run in µs, by the variant's name and the number of rows.
        unsafe: Variants that no worker may load: a mapping from the variant's name to the reason.
    """

    variant: str
    reason: str
    microseconds: dict[str, dict[int, float]] = {}
    unsafe: dict[str, str] = {}


@dataclass(frozen=True)
class VariantSelection:
    """The variant that this process serves.

    Attributes:
        variant: Name of the variant.
        session: Session of the variant.
        decision: Decision that all workers share.
        reason: Explanation of why this variant is served, as a sentence. It differs from that of
            the decision if the decision's variant fails its self-test in this process.
        checks: Result of checking each variant, by name.
    """

    variant: str
    session: GraphSession
    decision: VariantDecision
    reason: str
    checks: dict[str, VariantCheck]


def select_variant(
    bundle: Bundle,
    requested: str = AUTO_VARIANT,
    decision: VariantDecision | None = None,
    limits: ProofLimits = DEFAULT_PROOF_LIMITS,
    unsafe: Mapping[str, str] = NO_UNSAFE_VARIANTS,
) -> VariantSelection:
    """Run the self-test of all variants and select the one to serve.

    Args:
        bundle: Bundle of the version to load.
        requested: Name of the variant to serve if it passes. If it is "auto", or the bundle has no
            such variant, the fastest variant that passes is selected.
        decision: Decision of another worker to follow; None to time the variants and decide here.
        limits: Limits of size and time of each variant's self-test.
        unsafe: Variants that must not be loaded: a mapping from the variant's name to the reason.
            Ignored if there is a `decision`, which contains such a mapping.

    Raises:
        BundleError: If no variant passes.
        TransientBundleError: If no variant passes, but another attempt may succeed because one of
            them only took too long.
    """
    unsafe = dict(unsafe) if decision is None else decision.unsafe
    results = {
        variant: SelfTestResult(variant, None, None, unsafe[variant])
        if variant in unsafe
        else run_self_test(bundle, variant, limits=limits)
        for variant in bundle.manifest.variants
    }
    sessions = {
        variant: result.session for variant, result in results.items() if result.session is not None
    }
    if not sessions:
        failures = "; ".join(result.failure for result in results.values())
        is_transient = any(result.is_transient for result in results.values())
        raise TransientBundleError(failures) if is_transient else BundleError(failures)
    if decision is None:
        decision = _decide_variant(bundle, sessions, requested).model_copy(
            update={"unsafe": unsafe}
        )
    variant, reason = decision.variant, decision.reason
    if variant not in sessions:
        # The variant fails here: it was requested by name, or it passed in another worker.
        first = next(iter(sessions))
        variant, reason = first, f"{first}, since {variant} fails its self-test here"
    checks = {
        variant: VariantCheck(
            result.failure, result.difference, decision.microseconds.get(variant, {})
        )
        for variant, result in results.items()
    }
    return VariantSelection(variant, sessions[variant], decision, reason, checks)


def _decide_variant(
    bundle: Bundle, sessions: Mapping[str, GraphSession], requested: str
) -> VariantDecision:
    variants = list(bundle.manifest.variants)
    if requested in variants:
        return VariantDecision(variant=requested, reason=f"{requested} was requested")
    if len(variants) == 1:
        decision = VariantDecision(variant=variants[0], reason=f"{variants[0]} is the only variant")
    else:
        decision = _decide_by_speed(bundle, sessions)
    if requested == AUTO_VARIANT:
        return decision
    reason = f"{decision.reason}; {requested} was requested, but the bundle has no such variant"
    return decision.model_copy(update={"reason": reason})


def _decide_by_speed(bundle: Bundle, sessions: Mapping[str, GraphSession]) -> VariantDecision:
    """Time the variants that passed, and choose the first that no other is clearly faster than.

    The manifest lists the variants from the most accurate and largest to the smallest.
    """
    first, *others = sessions
    if not others:
        return VariantDecision(
            variant=first, reason=f"{first} is the only variant that passed its self-test"
        )
    try:
        times = measure_latencies(sessions, bundle.read_selftest().inputs, COMPARED_BATCH_SIZES)
    except GraphError as error:
        raise BundleError(f"{bundle.path}: {error}") from error
    speeds = {name: _compute_speedup(times[first], times[name]) for name in sessions}
    fastest = max(others, key=speeds.__getitem__)
    variant = next(name for name in sessions if speeds[name] * MIN_SPEEDUP >= speeds[fastest])
    *sizes, last_size = map(str, COMPARED_BATCH_SIZES)
    batches = f"batches of {', '.join(sizes)} and {last_size} rows"
    if variant == first:
        reason = (
            f"{first} is served because {fastest}, the fastest of the other variants, is "
            f"{_describe_speed(speeds[fastest], first)} on this machine ({batches}); another "
            f"variant is served only if it is more than {100 * (MIN_SPEEDUP - 1):.0f} % faster"
        )
    else:
        speed = _describe_speed(speeds[variant], first)
        reason = f"{variant} is {speed} on this machine ({batches})"
        if variant != fastest:
            comparison = _describe_speed(speeds[fastest] / speeds[variant], variant)
            reason += f"; {fastest} is {comparison}, which is not enough to prefer it"
    return VariantDecision(variant=variant, reason=reason, microseconds=times)


def _describe_speed(speedup: float, reference: str) -> str:
    """Return a phrase that compares the speed of a variant with that of another one.

    Args:
        speedup: Speed of the variant divided by that of the reference.
        reference: Name of the reference.
    """
    percent = round(100 * (speedup - 1))
    if speedup >= MIN_SPEEDUP_AS_FACTOR:
        return f"{speedup:.3g} times as fast as {reference}"
    if percent == 0:
        return f"as fast as {reference}"
    return f"{abs(percent)} % {'faster' if percent > 0 else 'slower'} than {reference}"


def _compute_speedup(reference: Mapping[int, float], times: Mapping[int, float]) -> float:
    """Return how many times as fast as the reference a variant is.

    The result is the geometric mean of the reference's time divided by the variant's time, across
    batch sizes.
    """
    return geometric_mean(reference[size] / times[size] for size in times)
