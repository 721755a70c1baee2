import numpy as np
import pytest

from trainer.nn import (
    SCHEDULES,
    Constant,
    Cosine,
    Exponential,
    FlatCosine,
    InverseScaling,
    OneCycle,
    ReduceOnPlateau,
    Step,
)


def compute_factors(schedule, steps=40):
    return [schedule.factor(step, steps) for step in range(steps)]


def test_cosine_and_one_cycle_match_pytorch(torch):
    expected = torch["schedules"]
    ours = compute_factors(Cosine(warmup=0, final=0))
    np.testing.assert_allclose(ours, expected["cosine"], atol=1e-12)
    np.testing.assert_allclose(compute_factors(OneCycle()), expected["one_cycle"], rtol=1e-12)


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("steps", [1, 2, 3, 100])
def test_schedule_factors_are_between_0_and_1(name, steps):
    result = compute_factors(SCHEDULES[name](), steps)
    assert all(0 <= f <= 1 + 1e-12 for f in result)
    assert np.isfinite(result).all()


def test_constant_and_step_match_formula():
    assert compute_factors(Constant(), 3) == [1, 1, 1]
    assert compute_factors(Step(3, 0.1), 6) == pytest.approx([1, 1, 0.1, 0.1, 0.01, 0.01])
    assert compute_factors(Step(3, 0.1), 7)[-1] == pytest.approx(0.01)


def test_inverse_scaling_matches_formula():
    assert compute_factors(InverseScaling(0.5), 5) == pytest.approx(
        [1, 1 / np.sqrt(2), 1 / np.sqrt(3), 0.5, 1 / np.sqrt(5)]
    )


def test_exponential_has_constant_ratio_and_end():
    result = np.array(compute_factors(Exponential(0.01), 21))
    np.testing.assert_allclose(result[1:] / result[:-1], 0.01 ** (1 / 20))
    assert result[0] == 1
    assert result[-1] == pytest.approx(0.01)


def test_cosine_warm_up_is_linear():
    result = compute_factors(Cosine(warmup=0.25, final=0.1), 40)
    np.testing.assert_allclose(np.diff(result[:10]), 1 / 11)
    assert max(result) == 1
    assert result.index(max(result)) == 10
    assert result[-1] == pytest.approx(0.1)


def test_flat_cosine_is_1_and_then_half_a_wave_to_0():
    result = compute_factors(FlatCosine(), 40)
    assert result[:21] == [1] * 21  # at step 20 of 40 the wave begins
    assert result[25] == pytest.approx((1 + np.sqrt(0.5)) / 2)
    assert result[30] == pytest.approx(0.5)
    assert result[35] == pytest.approx((1 - np.sqrt(0.5)) / 2)
    assert (np.diff(result[20:]) < 0).all()
    assert 0 < result[-1] < 0.01
    assert compute_factors(FlatCosine(), 1) == [1]


def test_reduce_on_plateau_patience_exceeded_reduces():
    schedule = ReduceOnPlateau(patience=2, gamma=0.5, threshold=0)
    levels = []
    for loss in (5, 4, 4, 4, 3, 3.5, 3.5, 2):
        schedule.observe(loss)
        levels.append(schedule.factor(0, 1))
    assert levels == [1, 1, 1, 0.5, 0.5, 0.5, 0.25, 0.25]


def test_reduce_on_plateau_small_improvement_does_not_count():
    schedule = ReduceOnPlateau(patience=1, gamma=0.5, threshold=0.01)
    for loss in (100, 99.5):
        schedule.observe(loss)
    assert schedule.level == 0.5


def test_schedule_invalid_arguments_raises():
    for make, message in (
        (lambda: Step(0), "at least 1 part"),
        (lambda: Step(2, 0), r"gamma in \(0, 1\]"),
        (lambda: InverseScaling(0), "power above 0"),
        (lambda: Exponential(2), r"final in \(0, 1\]"),
        (lambda: Cosine(warmup=1), r"warm-up in \[0, 1\)"),
        (lambda: Cosine(final=2), r"final factor in \[0, 1\]"),
        (lambda: OneCycle(rise=0), r"share of the run in \(0, 1\)"),
        (lambda: OneCycle(start=0.5), "ratios of at least 1"),
        (lambda: ReduceOnPlateau(0), "patience of at least 1"),
    ):
        with pytest.raises(ValueError, match=message):
            make()
