"""The estimators for numbers and for several labels keep scikit-learn's promises."""

import numpy as np
import pytest
from sklearn.exceptions import DataConversionWarning
from sklearn.linear_model import Ridge
from sklearn.utils.estimator_checks import check_estimator

from codivide import InputError, NoisyLabelRegressor, NoisyMultiLabelClassifier
from codivide.methods.features import trees

COPIES = "a repeated row is a copy, which counts once, and lies in another fold: a weight of 2 is not two rows"
WEIGHTS = {f"check_sample_weight_equivalence_on_{kind}_data": COPIES for kind in ("dense", "sparse")}
CLASSES = "a probability for each label, [N, 1] here, is no probability for each of two classes, [N, 2]"
SETS = {
    "check_classifiers_train": CLASSES,
    "check_estimator_sparse_array": CLASSES,
    "check_estimator_sparse_matrix": CLASSES,
    "check_classifiers_classes": "names in one column are one class a row",
    "check_classifier_not_supporting_multiclass": "the refusal of one class a row names NoisyLabelClassifier instead",
    "check_fit2d_1feature": "3 of 10 rows have the label; 5 are needed, which the error says",
}


class OfColumn(NoisyMultiLabelClassifier):
    """Scikit-learn's checks give one column of any two values; several labels are a matrix of 0 and 1."""

    def fit(self, X, y=None, *, sample_weight=None):
        values = np.asarray(y)
        if values.ndim == 2:
            y = (values != values.min()).astype(np.int64)
        return super().fit(X, y, sample_weight=sample_weight)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("estimator", "expected"),
    [
        pytest.param(NoisyLabelRegressor(), WEIGHTS, id="numbers", marks=pytest.mark.slow),  # a minute
        pytest.param(OfColumn(), SETS | WEIGHTS, id="several labels", marks=pytest.mark.long),
    ],
)
def test_check_estimator(estimator, expected, monkeypatch):
    monkeypatch.setattr(trees, "WIDEST", 0)  # no forests: what is asked for here does not depend on the heads
    results = check_estimator(estimator, expected_failed_checks=expected, on_fail=None)
    assert len(results) > 40
    assert [f"{r['check_name']}: {r['exception']}" for r in results if r["status"] == "failed"] == []


def test_a_column_of_numbers_is_taken_and_said():
    x = np.random.default_rng(0).normal(size=(40, 2))
    y = x @ [2.0, 1.0]
    flat = NoisyLabelRegressor(model=Ridge()).fit(x, y).predict(x)
    with pytest.warns(DataConversionWarning, match="column-vector"):
        column = NoisyLabelRegressor(model=Ridge()).fit(x, y[:, None]).predict(x)
    np.testing.assert_array_equal(flat, column)


@pytest.mark.parametrize(
    ("estimator", "y", "said"),
    [
        (NoisyLabelRegressor(), np.ones(6) + 1j, "Complex data not supported: y"),
        (NoisyMultiLabelClassifier(), np.ones((6, 2)) + 1j, "Complex data not supported: y"),
        (NoisyMultiLabelClassifier(), np.arange(6), "One class a row is what NoisyLabelClassifier learns"),
    ],
)
def test_targets_of_another_kind_are_one_clear_error(estimator, y, said):
    with pytest.raises(InputError, match=said):
        estimator.fit(np.zeros((6, 2)), y)
