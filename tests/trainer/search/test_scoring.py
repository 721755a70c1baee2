import numpy as np
import pytest

from trainer.data.sources import load_table
from trainer.evaluate import Evaluation
from trainer.search.estimator import CandidateEstimator
from trainer.search.scoring import get_default_metric, get_sign, list_metrics


def evaluate(table, context):
    """Return the metrics of a model that was trained and evaluated on the whole table."""
    rows = np.arange(len(table))
    estimator = CandidateEstimator(context).fit(rows[:, None])
    return Evaluation.from_model(estimator.model_, table, rows).compute_metrics()


@pytest.mark.parametrize("data", ["iris", "breast_cancer", "diabetes"])
def test_list_metrics_equals_the_metrics_of_an_evaluation(data, make_context):
    table = load_table(data)
    metrics = evaluate(table, make_context(table, epochs=1))
    assert set(metrics) == set(list_metrics(table.task))
    assert get_default_metric(table.task) in list_metrics(table.task)


def test_get_sign_longer_training_is_better_by_every_metric(make_context):
    table = load_table("breast_cancer")
    short, long = (evaluate(table, make_context(table, epochs=epochs)) for epochs in (1, 20))
    for metric in ("accuracy", "f1", "log_loss", "brier", "roc_auc", "pr_auc"):
        assert get_sign(metric) * (long[metric] - short[metric]) > 0, metric
    assert {get_sign(metric) for metric in list_metrics("regression") if metric != "r2"} == {-1}
