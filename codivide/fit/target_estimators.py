"""``NoisyLabelRegressor`` and ``NoisyMultiLabelClassifier``: numbers and several labels a row, for scikit-learn."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.utils.validation import check_is_fitted

from codivide.audit.checks import looked_for
from codivide.audit.findings import Findings
from codivide.audit.target_judging import load_targets
from codivide.core.errors import InputError, TrainingWarning
from codivide.core.files import expand_user
from codivide.core.types import Floats, Labels
from codivide.data.arrow import as_pandas
from codivide.data.corrections import Decided, files_of, read_corrections
from codivide.data.groups import with_groups
from codivide.data.loaded import Loaded
from codivide.data.options import MULTILABEL, REGRESSION, ReadOptions
from codivide.data.own import as_encoder
from codivide.data.record import DataRecord
from codivide.data.row_order import warn_of_order, with_index
from codivide.data.table_columns import listed
from codivide.data.target_decisions import confirm_targets
from codivide.data.targets import as_numbers, parts, texts_of
from codivide.data.weights import weighted
from codivide.fit.estimator_parts import drawn, names, remember_features, rows_for
from codivide.fit.job import Job, default_plan
from codivide.fit.own_model import samples_of
from codivide.fit.targets import TargetOutcome, execute_targets
from codivide.methods.features import number_heads, own
from codivide.methods.features.number_model import NumberModel
from codivide.methods.features.options import Features
from codivide.methods.features.own import OwnModel
from codivide.runs import label_table
from codivide.runs.changed import check_decided
from codivide.runs.claim import claimed


class _Noisy(BaseEstimator):
    """What both estimators share; see ``NoisyLabelRegressor``."""

    _task: str

    def __init__(
        self,
        *,
        model: Any = None,
        encoder: Any = "auto",
        label: str | None = None,
        text: str | None = None,
        columns: Sequence[str] | None = None,
        drop: Sequence[str] | None = None,
        out: str | Path | None = None,
        random_state: int | np.random.RandomState | np.random.Generator | None = 0,
    ) -> None:
        self.model = model
        self.encoder = encoder
        self.label = label
        self.text = text
        self.columns = columns
        self.drop = drop
        self.out = out
        self.random_state = random_state

    def _between(self) -> str:
        """What stands between the labels of a row."""
        return ReadOptions.separator

    def _options(self) -> ReadOptions:
        return ReadOptions(
            unlabelled=None,
            encoder=as_encoder(self.encoder),
            label=self.label or "label",
            text=self.text,
            columns=names(self.columns),
            drop=names(self.drop),
            task=self._task,
            separator=self._between(),
        )

    def _fit(self, X: Any, y: Any, corrections: Decided, groups: Any, sample_weight: Any) -> TargetOutcome:
        options, out, X = self._options(), None if self.out is None else expand_user(self.out), as_pandas(X)
        inputs = [given for given in (X, *files_of(corrections)) if isinstance(given, str | Path)]
        warn_of_order(X, groups=groups, sample_weight=sample_weight)
        with claimed(out, inputs=inputs):
            decided = read_corrections(corrections)
            loaded, samples = self._load(X, y, options)
            for text in () if isinstance(X, str | Path) else loaded.said:  # of files: how they were read
                warnings.warn(text, TrainingWarning, stacklevel=3)
            loaded = weighted(with_groups(loaded, groups), sample_weight)
            check_decided(files_of(corrections), loaded, X, options)
            if decided is not None:
                loaded = confirm_targets(loaded, decided, options)
            method = OwnModel(estimator=repr(self.model)) if self.model is not None else Features()
            plan = default_plan(len(loaded.y), method, seed=drawn(self.random_state))
            record = {} if decided is None else decided.record()
            job = Job(method, plan, source=DataRecord.of(X, options), corrections=record)
            kept = None if samples is None else samples_of(samples, loaded)
            outcome = execute_targets(job, loaded, out, model=self.model, samples=kept)
        self._decided = record
        self._keep(X if samples is None else samples, loaded, outcome)
        return outcome

    def _load(self, X: Any, y: Any, options: ReadOptions) -> tuple[Loaded, Any]:
        """The data, and the samples as a model of the user's own takes them."""
        if isinstance(X, pd.DataFrame) and y is None:
            names = [name.strip() for name in options.label.split(",")]
            gone = [name for name in names if name not in X]
            if gone and self.label is not None:
                raise InputError(f"X has no column {gone[0]!r} of targets (columns: {listed(X)})")
            if not gone:
                y = X[names] if len(names) > 1 else X[names[0]]
                X = X.drop(columns=names)
        in_memory = not isinstance(X, str | Path)
        if self.model is not None:
            if not in_memory:
                raise InputError("with model=..., X and y must be in memory: read the table first (pandas.read_csv)")
            self._check_model()
            if options.task == REGRESSION and y is None:
                raise InputError("codivide requires y to be passed, but the target y is None: pass one number a row")
        if self.model is None and (y is not None or not in_memory or _brings_labels(X)):
            return load_targets(X, y, options), None
        warn_of_order(X, y=y)
        written = texts_of(y, options)
        loaded, samples = own.load_for(X, written.texts, options)
        return written.of(loaded), samples

    def _check_model(self) -> None:
        own.check_model(self.model)

    def _keep(self, X: Any, loaded: Loaded, outcome: TargetOutcome) -> None:
        """Set the fitted attributes."""
        remember_features(self, X, loaded)
        self.model_ = outcome.model
        self.labels_ = with_index(self._readable(outcome.table), X, loaded.ids)
        self.label_issues_ = looked_for(self.labels_, label_table.issues(self.labels_))
        self.clean_proba_ = outcome.report.clean_prob
        self.noise_report_ = outcome.report
        self.history_ = outcome.history
        self._loaded, self._table = loaded, outcome.table

    def _readable(self, table: pd.DataFrame) -> pd.DataFrame:
        return table

    def _rows(self, X: Any) -> Any:
        """The samples as the model takes them."""
        check_is_fitted(self)
        return rows_for(self, X, self._options())

    def audit(self, limit: int = 1000, *, thumbnails: bool = True) -> Findings:
        """What is wrong with the targets of the training data; a notebook shows a summary.

        Args:
            limit: issues listed in the facts, the most doubtful first.
            thumbnails: whether images are shown.

        Returns:
            The label table, the facts, and ``report(path)`` to write the page.
        """
        from codivide.audit.facts import findings
        from codivide.audit.material import of_targets

        check_is_fitted(self)
        material = of_targets(
            self._table, self._loaded, report=self.noise_report_, separator=self._between(), history=self.history_
        )
        return replace(findings(material, limit, thumbnails=thumbnails), earlier=getattr(self, "_decided", {}))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.input_tags.string = True
        tags.non_deterministic = False
        return tags

    def __getstate__(self) -> dict[str, Any]:
        state: dict[str, Any] = super().__getstate__()
        if "_loaded" in state:
            state["_loaded"] = None  # the training data are the user's, and may be large
        return state


class NoisyLabelRegressor(RegressorMixin, _Noisy):
    """A regressor for targets that cannot be trusted; it also says which of them look wrong.

    Works on tables (columns of any kind, or sparse features), texts, photos, and files of them.

    Args:
        model: a regressor of your own in the place of codivide's heads (ridge, forest, boosting): any of scikit-learn's
            kind, a Pipeline, LightGBM, ... It is cross-fitted, its targets are judged, and it is fitted again with
            weights, or on what is kept where it takes none.
        encoder: what makes features of texts or images, as in ``NoisyLabelClassifier``.
        label: the column of a table or data frame that holds the targets, where ``y`` is not given; None: "label".
        text: the column that holds texts, which are then all that is learned from.
        columns: the columns to learn from; None: all.
        drop: columns to leave out.
        out: a new folder for the run's record; None: nothing is written.
        random_state: of everything random.

    Attributes:
        clean_proba_: ``[N]`` probability that each target is right; NaN where there is none.
        predicted_: ``[N]`` what held-out samples predict of each.
        suggested_labels_: ``[N]``: the given target where it is likely right, else the prediction.
        labels_: data frame with a row a sample: id, given, suggested, clean_prob, rank, suggested_prob (how likely the
            right target, where the given one is wrong, is nearer to the suggestion), predicted, predicted_low and
            predicted_high (90 % interval).
        label_issues_: those of them with p(clean) below one half, the most doubtful first.
        noise_report_: how many look wrong, see ``codivide.noise.target_report.TargetReport``.
        history_: one record a round of fitting.
        model_: predicts numbers.

    Examples:
        >>> import numpy as np
        >>> from codivide import NoisyLabelRegressor
        >>> rng = np.random.default_rng(0)
        >>> X = rng.normal(size=(300, 3))
        >>> y = X @ [3.0, 2.0, 1.0] + 0.1 * rng.normal(size=300)
        >>> y[:6] += 20
        >>> NoisyLabelRegressor().fit(X, y).label_issues_["id"].sort_values().tolist()
        [0, 1, 2, 3, 4, 5]
    """

    _task = REGRESSION

    def fit(
        self,
        X: Any,
        y: Any = None,
        corrections: Decided = None,
        groups: Any = None,
        *,
        sample_weight: Any = None,
    ) -> Self:
        """Learn, and judge every target.

        Args:
            X: features ``[N, D]``, a data frame, texts, images, or a path that brings its own targets.
            y: targets ``[N]``; NaN or None where there is none. None where ``X`` brings them.
            corrections: what a person decided on some of them (see ``codivide.data.corrections``).
            groups: what belongs together ``[N]``: no fold divides it.
            sample_weight: ``[N]``, not negative: how much each sample counts.

        Raises:
            InputError: the message says what is wrong and where.
        """
        outcome = self._fit(X, y, corrections, groups, sample_weight)
        self.predicted_ = outcome.predicted
        self.suggested_labels_ = self.labels_["suggested"].to_numpy(dtype=np.float64)
        return self

    def predict(self, X: Any) -> Floats:
        """Targets ``[N]`` of data of the same kind as in ``fit``."""
        rows = self._rows(X)
        if isinstance(self.model_, NumberModel):
            return self.model_.predict(rows)
        return number_heads.predict_own(self.model_, rows)

    def _check_model(self) -> None:
        number_heads.check_own(self.model)

    def _readable(self, table: pd.DataFrame) -> pd.DataFrame:
        """The label table with numbers for texts."""
        read_as = {name: as_numbers(table[name]) for name in (label_table.GIVEN, label_table.SUGGESTED)}
        return table.assign(**read_as)


class NoisyMultiLabelClassifier(ClassifierMixin, _Noisy):
    """A classifier for rows that have several labels, some of them wrongly; it says which.

    Args:
        model: a classifier of your own, fitted for each label, in the place of codivide's linear heads and forest.
        separator: between the labels of a row, where they stand in one column.
        encoder: what makes features of texts or images, as in ``NoisyLabelClassifier``.
        label: the column that holds the labels, or several with commas that hold 0 or 1; None: "label".
        text: the column that holds texts, which are then all that is learned from.
        columns: the columns to learn from; None: all.
        drop: columns to leave out.
        out: a new folder for the run's record; None: nothing is written.
        random_state: of everything random.

    Attributes:
        classes_: the labels ``[K]``.
        clean_proba_: ``[N]`` probability that all labels of a row are right; NaN where it has not been labelled.
        label_clean_proba_: ``[N, K]`` that each is rightly there, or rightly not; NaN where it cannot be judged.
        suggested_labels_: ``[N, K]`` of 0 and 1.
        labels_: data frame with a row a sample: given and suggested labels as text, clean_prob, rank, suggested_prob
            and label_changes (``+a`` to add, ``-b`` to take away).
        label_issues_: the rows whose suggestion differs, the most doubtful first.
        noise_report_: how many look wrong, in all and of each label.
        history_: one record a label.
        model_: says how likely each label is.

    Examples:
        >>> import numpy as np
        >>> from codivide import NoisyMultiLabelClassifier
        >>> rng = np.random.default_rng(0)
        >>> X = rng.normal(size=(400, 2))
        >>> y = (X > 0).astype(int)
        >>> y[X[:, 0].argmax()] = [0, y[X[:, 0].argmax(), 1]]  # a wrong one
        >>> clf = NoisyMultiLabelClassifier().fit(X, y)
        >>> int(clf.label_issues_["id"].iloc[0]) == int(X[:, 0].argmax()), clf.label_issues_["label_changes"].iloc[0]
        (True, '+0')
    """

    _task = MULTILABEL

    def __init__(
        self,
        *,
        model: Any = None,
        separator: str = ";",
        encoder: Any = "auto",
        label: str | None = None,
        text: str | None = None,
        columns: Sequence[str] | None = None,
        drop: Sequence[str] | None = None,
        out: str | Path | None = None,
        random_state: int | np.random.RandomState | np.random.Generator | None = 0,
    ) -> None:
        super().__init__(
            model=model,
            encoder=encoder,
            label=label,
            text=text,
            columns=columns,
            drop=drop,
            out=out,
            random_state=random_state,
        )
        self.separator = separator

    def _between(self) -> str:
        return self.separator

    def fit(
        self,
        X: Any,
        y: Any = None,
        corrections: Decided = None,
        groups: Any = None,
        *,
        sample_weight: Any = None,
    ) -> Self:
        """Learn, and judge every label.

        Args:
            X: features ``[N, D]``, a data frame, texts, images, or a path that brings its own labels.
            y: a matrix ``[N, K]`` of 0 and 1 (of a data frame the columns are the labels), a list of labels for each
                row, or texts with the separator; None (or a row of NaN) where a row has not been labelled.
            corrections: what a person decided on some of them.
            groups: what belongs together ``[N]``: no fold divides it.
            sample_weight: ``[N]``, not negative: how much each sample counts.

        Raises:
            InputError: the message says what is wrong and where.
        """
        outcome = self._fit(X, y, corrections, groups, sample_weight)
        assert outcome.report.label_clean_prob is not None
        self.classes_ = np.asarray(outcome.names)
        self.label_clean_proba_ = outcome.report.label_clean_prob
        found = np.array(
            [[name in parts_of for name in outcome.names] for parts_of in _sets_of(outcome.table, self.separator)]
        )
        self.suggested_labels_ = found.astype(np.int64)
        return self

    def predict_proba(self, X: Any) -> Floats:
        """How likely each label is ``[N, K]``, in the order of ``classes_``; rows do not sum to 1."""
        rows, model = self._rows(X), self.model_
        found: Floats = model.probs(rows)
        return found

    def predict(self, X: Any) -> Labels:
        """The labels ``[N, K]`` of each sample, 1 where it has one."""
        return (self.predict_proba(X) >= 0.5).astype(np.int64)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        tags.target_tags.single_output = False
        tags.classifier_tags.multi_label = True
        tags.classifier_tags.multi_class = False
        return tags


def _brings_labels(x: Any) -> bool:
    """Whether a source in memory holds its targets: a data set of another library."""
    return not isinstance(x, pd.DataFrame | pd.Series | np.ndarray | list | tuple) and not hasattr(x, "toarray")


def _sets_of(table: pd.DataFrame, separator: str) -> list[set[str]]:
    return [set(parts(str(text), separator)) for text in table[label_table.SUGGESTED]]
