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
    TIMED_ROWS,
    Difference,
    GraphError,
    Proof,
    ProofLimits,
    Session,
    prove,
    race,
)

AUTO = "auto"  # the variant to serve is the fastest
RACED_ROWS = TIMED_ROWS[:3]  # what most requests hold; more would take the start-up's time
# Timings are noisy: a variant must be faster by more than noise to be preferred to one before it.
WORTHWHILE = 1.1
MANY_TIMES = 1.995  # from here on "2 times as fast" says more than "100 % faster"
DEFAULT_LIMITS = ProofLimits()
NONE_UNSAFE: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True)
class Trial:
    """How a variant did on this machine.

    Attributes:
        reason: why it is not to be served; empty when it passed.
        difference: from the expected outputs; None when it did not come to a comparison.
        microseconds: median of one run, by rows; empty where nothing hung on it.
    """

    reason: str
    difference: Difference | None
    microseconds: Mapping[int, float]

    @property
    def passed(self) -> bool:
        """The variant reproduces its expected outputs here."""
        return not self.reason


class Verdict(BaseModel, frozen=True):
    """What several processes agree on."""

    variant: str
    why: str
    microseconds: dict[str, dict[int, float]] = {}
    unsafe: dict[str, str] = {}  # reasons by variant that no worker is to load


@dataclass(frozen=True)
class Choice:
    """The variant that answers.

    Attributes:
        variant: its name.
        session: runs it.
        verdict: it was chosen by, for other processes to abide by.
        why: in a sentence.
        trials: of every variant, by name.
    """

    variant: str
    session: Session
    verdict: Verdict
    why: str
    trials: dict[str, Trial]


def choose(
    bundle: Bundle,
    wanted: str = AUTO,
    verdict: Verdict | None = None,
    limits: ProofLimits = DEFAULT_LIMITS,
    unsafe: Mapping[str, str] = NONE_UNSAFE,
) -> Choice:
    """Prove all variants, and choose the one that answers.

    Args:
        bundle: opened.
        wanted: the variant to serve if it passes; the fastest of those that do for "auto", or if
            the bundle has none of that name.
        verdict: of the process that decides for this one too; this one times and decides without.
        limits: Limits of the proofs.
        unsafe: Reasons by name of variants that must not be loaded here, unless a verdict says so.

    Raises:
        BundleError: none passes.
        TransientBundleError: If one took too long, and may pass another time.
    """
    unsafe = dict(unsafe) if verdict is None else verdict.unsafe
    proofs = {
        variant: Proof(variant, None, None, unsafe[variant])
        if variant in unsafe
        else prove(bundle, variant, limits=limits)
        for variant in bundle.manifest.variants
    }
    sessions = {
        variant: proof.session for variant, proof in proofs.items() if proof.session is not None
    }
    if not sessions:
        reasons = "; ".join(proof.reason for proof in proofs.values())
        is_transient = any(proof.is_transient for proof in proofs.values())
        raise TransientBundleError(reasons) if is_transient else BundleError(reasons)
    if verdict is None:
        verdict = _verdict(bundle, sessions, wanted).model_copy(update={"unsafe": unsafe})
    variant, why = verdict.variant, verdict.why
    if variant not in sessions:  # wanted, or agreed on where it passed
        first = next(iter(sessions))
        variant, why = first, f"{first}, since {variant} fails its self-test here"
    trials = {
        variant: Trial(proof.reason, proof.difference, verdict.microseconds.get(variant, {}))
        for variant, proof in proofs.items()
    }
    return Choice(variant, sessions[variant], verdict, why, trials)


def _verdict(bundle: Bundle, sessions: Mapping[str, Session], wanted: str) -> Verdict:
    variants = list(bundle.manifest.variants)
    if wanted in variants:
        return Verdict(variant=wanted, why=f"{wanted}, as asked for")
    if len(variants) == 1:
        verdict = Verdict(variant=variants[0], why=f"{variants[0]} is the only variant")
    else:
        verdict = _fastest(bundle, sessions)
    if wanted == AUTO:
        return verdict
    why = f"{verdict.why}; there is no {wanted}, which was asked for"
    return verdict.model_copy(update={"why": why})


def _fastest(bundle: Bundle, sessions: Mapping[str, Session]) -> Verdict:
    """Of those that passed, the first that no other is worthwhile faster than."""
    first, *others = sessions
    if not others:
        return Verdict(variant=first, why=f"{first} alone passed its self-test")
    try:
        times = race(sessions, bundle.selftest().inputs, RACED_ROWS)
    except GraphError as error:
        raise BundleError(f"{bundle.path}: {error}") from error
    speeds = {name: _speed(times[first], times[name]) for name in sessions}
    fastest = max(others, key=speeds.__getitem__)
    # The variants of a bundle go from the exact one to ever smaller ones.
    variant = next(name for name in sessions if speeds[name] * WORTHWHILE >= speeds[fastest])
    *most, last = map(str, RACED_ROWS)
    batches = f"batches of {', '.join(most)} and {last} rows"
    if variant == first:
        why = (
            f"{first}: {fastest}, the fastest of the others, is {_compared(speeds[fastest], 'it')} "
            f"here, over {batches}; another variant is served only if it is more than "
            f"{100 * (WORTHWHILE - 1):.0f} % faster"
        )
    else:
        why = f"{variant} is {_compared(speeds[variant], first)} here, over {batches}"
        if variant != fastest:
            more = _compared(speeds[fastest] / speeds[variant], variant)
            why += f"; {fastest} is {more}, which is too little to prefer it"
    return Verdict(variant=variant, why=why, microseconds=times)


def _compared(speed: float, other: str) -> str:
    """Return in words how fast a variant is, beside another."""
    percent = round(100 * (speed - 1))
    if speed >= MANY_TIMES:
        return f"{speed:.3g} times as fast as {other}"
    if percent == 0:
        return f"as fast as {other}"
    return f"{abs(percent)} % {'faster' if percent > 0 else 'slower'} than {other}"


def _speed(reference: Mapping[int, float], own: Mapping[int, float]) -> float:
    """How many times as fast as the reference, over all sizes alike."""
    return geometric_mean(reference[size] / own[size] for size in own)
