"""The choice: which of a bundle's variants answers on this machine, and why.

Every variant is put to its self-test here, and those that pass are timed: what is fastest, and even
what is right, differs between CPUs. One that fails is reported and never served.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import geometric_mean
from types import MappingProxyType

from pydantic import BaseModel

from serving.bundle import Bundle, BundleError, TransientBundleError
from serving.runtime import (
    TIMED_BATCH_SIZES,
    GraphError,
    GraphSession,
    OutputDifference,
    ProofLimits,
    SelfTestResult,
    measure_latencies,
    run_self_test,
)

AUTO_VARIANT = "auto"  # the variant to serve is the fastest
COMPARED_BATCH_SIZES = TIMED_BATCH_SIZES[
    :3
]  # what most requests hold; more would take the start-up's time
# Timings are noisy: a variant must be faster by more than noise to be preferred to one before it.
MIN_SPEEDUP = 1.1
MULTIPLE_WORDING_SPEEDUP = 1.995  # from here on "2 times as fast" says more than "100 % faster"
DEFAULT_PROOF_LIMITS = ProofLimits()
NO_UNSAFE_VARIANTS: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True)
class VariantCheck:
    """How a variant did on this machine.

    Attributes:
        failure: why it is not to be served; empty when it passed.
        difference: from the expected outputs; None when it did not come to a comparison.
        microseconds: median of one run, by rows; empty where nothing hung on it.
    """

    failure: str
    difference: OutputDifference | None
    microseconds: Mapping[int, float]

    @property
    def passed(self) -> bool:
        """The variant reproduces its expected outputs here."""
        return not self.failure


class VariantDecision(BaseModel, frozen=True):
    """What several processes agree on."""

    variant: str
    reason: str
    microseconds: dict[str, dict[int, float]] = {}
    unsafe: dict[str, str] = {}  # reasons by variant that no worker is to load


@dataclass(frozen=True)
class VariantSelection:
    """The variant that answers.

    Attributes:
        variant: its name.
        session: runs it.
        decision: it was chosen by, for other processes to abide by.
        reason: in a sentence.
        checks: of every variant, by name.
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
    """Prove all variants, and choose the one that answers.

    Args:
        bundle: opened.
        requested: the variant to serve if it passes; the fastest of those that do for "auto", or if
            the bundle has none of that name.
        decision: of the process that decides for this one too; this one times and decides without.
        limits: Limits of the proofs.
        unsafe: Reasons by name of variants that must not be loaded here, unless a verdict says so.

    Raises:
        BundleError: none passes.
        TransientBundleError: If one took too long, and may pass another time.
    """
    unsafe = dict(unsafe) if decision is None else decision.unsafe
    proofs = {
        variant: SelfTestResult(variant, None, None, unsafe[variant])
        if variant in unsafe
        else run_self_test(bundle, variant, limits=limits)
        for variant in bundle.manifest.variants
    }
    sessions = {
        variant: proof.session for variant, proof in proofs.items() if proof.session is not None
    }
    if not sessions:
        reasons = "; ".join(proof.failure for proof in proofs.values())
        is_transient = any(proof.is_transient for proof in proofs.values())
        raise TransientBundleError(reasons) if is_transient else BundleError(reasons)
    if decision is None:
        decision = _decide_variant(bundle, sessions, requested).model_copy(
            update={"unsafe": unsafe}
        )
    variant, why = decision.variant, decision.reason
    if variant not in sessions:  # wanted, or agreed on where it passed
        first = next(iter(sessions))
        variant, why = first, f"{first}, since {variant} fails its self-test here"
    trials = {
        variant: VariantCheck(
            proof.failure, proof.difference, decision.microseconds.get(variant, {})
        )
        for variant, proof in proofs.items()
    }
    return VariantSelection(variant, sessions[variant], decision, why, trials)


def _decide_variant(
    bundle: Bundle, sessions: Mapping[str, GraphSession], wanted: str
) -> VariantDecision:
    variants = list(bundle.manifest.variants)
    if wanted in variants:
        return VariantDecision(variant=wanted, reason=f"{wanted}, as asked for")
    if len(variants) == 1:
        verdict = VariantDecision(variant=variants[0], reason=f"{variants[0]} is the only variant")
    else:
        verdict = _decide_by_speed(bundle, sessions)
    if wanted == AUTO_VARIANT:
        return verdict
    why = f"{verdict.reason}; there is no {wanted}, which was asked for"
    return verdict.model_copy(update={"reason": why})


def _decide_by_speed(bundle: Bundle, sessions: Mapping[str, GraphSession]) -> VariantDecision:
    """Of those that passed, the first that no other is worthwhile faster than."""
    first, *others = sessions
    if not others:
        return VariantDecision(variant=first, reason=f"{first} alone passed its self-test")
    try:
        times = measure_latencies(sessions, bundle.read_selftest().inputs, COMPARED_BATCH_SIZES)
    except GraphError as error:
        raise BundleError(f"{bundle.path}: {error}") from error
    speeds = {name: _compute_speedup(times[first], times[name]) for name in sessions}
    fastest = max(others, key=speeds.__getitem__)
    # The variants of a bundle go from the exact one to ever smaller ones.
    variant = next(name for name in sessions if speeds[name] * MIN_SPEEDUP >= speeds[fastest])
    *most, last = map(str, COMPARED_BATCH_SIZES)
    batches = f"batches of {', '.join(most)} and {last} rows"
    if variant == first:
        why = (
            f"{first}: {fastest}, the fastest of the others, is {_describe_speed(speeds[fastest], 'it')} "
            f"here, over {batches}; another variant is served only if it is more than "
            f"{100 * (MIN_SPEEDUP - 1):.0f} % faster"
        )
    else:
        why = f"{variant} is {_describe_speed(speeds[variant], first)} here, over {batches}"
        if variant != fastest:
            more = _describe_speed(speeds[fastest] / speeds[variant], variant)
            why += f"; {fastest} is {more}, which is too little to prefer it"
    return VariantDecision(variant=variant, reason=why, microseconds=times)


def _describe_speed(speed: float, other: str) -> str:
    """Return in words how fast a variant is, beside another."""
    percent = round(100 * (speed - 1))
    if speed >= MULTIPLE_WORDING_SPEEDUP:
        return f"{speed:.3g} times as fast as {other}"
    if percent == 0:
        return f"as fast as {other}"
    return f"{abs(percent)} % {'faster' if percent > 0 else 'slower'} than {other}"


def _compute_speedup(reference: Mapping[int, float], own: Mapping[int, float]) -> float:
    """How many times as fast as the reference, over all sizes alike."""
    return geometric_mean(reference[size] / own[size] for size in own)
