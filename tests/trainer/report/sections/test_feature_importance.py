from trainer.report.permutation_importance import PermutationImportance, PermutationImportances
from trainer.report.sections.feature_importance import build_importance_section


def test_importance_metric_names_the_positive_class():
    columns = [PermutationImportance("x", 0.1, 0.01)]
    page = repr(
        build_importance_section(PermutationImportances("roc_auc", 0.9, 10, columns), "fraud")
    )
    assert "ROC AUC of “fraud” is 0.9" in page
    assert "drop of ROC AUC of “fraud”" in page
