"""Select the variant of a bundle that answers on this machine: the fastest that answers correctly.

Which variant is fastest, and even which one answers correctly, differs between CPUs. So each
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

AUTO_VARIANT = "auto"  # serve the fastest variant
# Numbers of rows that most requests contain. Larger ones would make the start too slow.
COMPARED_BATCH_SIZES = TIMED_BATCH_SIZES[:3]
# Measured times are noisy, so a variant is preferred to an earlier one only if it is so many times
# as fast.
MIN_SPEEDUP = 1.1
MULTIPLE_WORDING_SPEEDUP = 1.995  # from here on, write "2 times as fast" instead of "100 % faster"
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
        unsafe: Reasons by name of the variants that no worker may load.
    """

    variant: str
    reason: str
    microseconds: dict[str, dict[int, float]] = {}
    unsafe: dict[str, str] = {}


@dataclass(frozen=True)
class VariantSelection:
    """The variant that answers in this process.

    Attributes:
        variant: Name of the variant.
        session: Session of the variant.
        decision: Decision that all workers share.
        reason: Explanation of why this variant answers, as a sentence. It differs from that of the
            decision if the variant of the decision fails its self-test in this process.
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
    """Run the self-test of all variants and select the one that answers.

    Args:
        bundle: The bundle.
        requested: Name of the variant to serve if it passes. If it is "auto", or the bundle has no
            such variant, the fastest variant that passes is selected.
        decision: Decision of another worker to follow; None to time the variants and decide here.
        limits: Limits for loading the variants.
        unsafe: Reasons by name of the variants that must not be loaded; ignored if there is a
            `decision`, which has its own.

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
    if variant not in sessions:  # the requested variant, or the choice of a worker where it passed
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
        return VariantDecision(variant=requested, reason=f"{requested}, as asked for")
    if len(variants) == 1:
        decision = VariantDecision(variant=variants[0], reason=f"{variants[0]} is the only variant")
    else:
        decision = _decide_by_speed(bundle, sessions)
    if requested == AUTO_VARIANT:
        return decision
    reason = f"{decision.reason}; there is no {requested}, which was asked for"
    return decision.model_copy(update={"reason": reason})


def _decide_by_speed(bundle: Bundle, sessions: Mapping[str, GraphSession]) -> VariantDecision:
    """Time the variants that passed, and choose the first that no other clearly outruns.

    The manifest lists the most exact variant first and ever smaller ones after it.
    """
    first, *others = sessions
    if not others:
        return VariantDecision(variant=first, reason=f"{first} alone passed its self-test")
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
            f"{first}: {fastest}, the fastest of the others, is "
            f"{_describe_speed(speeds[fastest], 'it')} here, over {batches}; another variant is "
            f"served only if it is more than {100 * (MIN_SPEEDUP - 1):.0f} % faster"
        )
    else:
        reason = f"{variant} is {_describe_speed(speeds[variant], first)} here, over {batches}"
        if variant != fastest:
            comparison = _describe_speed(speeds[fastest] / speeds[variant], variant)
            reason += f"; {fastest} is {comparison}, which is too little to prefer it"
    return VariantDecision(variant=variant, reason=reason, microseconds=times)


def _describe_speed(speedup: float, reference: str) -> str:
    """Return a phrase that compares the speed of a variant with another one.

    Args:
        speedup: Speed of the variant divided by that of the reference.
        reference: Name of the reference.
    """
    percent = round(100 * (speedup - 1))
    if speedup >= MULTIPLE_WORDING_SPEEDUP:
        return f"{speedup:.3g} times as fast as {reference}"
    if percent == 0:
        return f"as fast as {reference}"
    return f"{abs(percent)} % {'faster' if percent > 0 else 'slower'} than {reference}"


def _compute_speedup(reference: Mapping[int, float], times: Mapping[int, float]) -> float:
    """Return the geometric mean, over all batch sizes, of the reference's time over the time."""
    return geometric_mean(reference[size] / times[size] for size in times)
