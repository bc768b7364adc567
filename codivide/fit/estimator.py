"""``NoisyLabelClassifier``: the methods behind scikit-learn's interface."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Literal, Self, TypedDict, Unpack

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.validation import check_is_fitted
from torch import nn

from codivide.audit.checks import looked_for
from codivide.audit.findings import Findings
from codivide.core.device import resolve_device
from codivide.core.errors import InputError, TrainingWarning, check_instance
from codivide.core.files import expand_user
from codivide.data import encode
from codivide.data.arrow import as_pandas
from codivide.data.corrections import Decided, confirm, files_of, read_corrections
from codivide.data.groups import with_groups
from codivide.data.loaded import Loaded, warn_about_reading
from codivide.data.options import ReadOptions
from codivide.data.own import as_encoder
from codivide.data.own_views import as_views
from codivide.data.record import DataRecord
from codivide.data.row_order import warn_of_order, with_index
from codivide.data.sources import load
from codivide.data.weights import as_text, weighted
from codivide.fit.budget import patience, seconds
from codivide.fit.choose_run import execute
from codivide.fit.estimator_parts import drawn, names, remember_features, rows_for
from codivide.fit.job import Job, Outcome, build_method, default_plan, name_of
from codivide.fit.own_model import execute_own, samples_of
from codivide.fit.progress import Stages, closing, findings_of
from codivide.fit.resume import seed_of
from codivide.fit.verdict import caution
from codivide.methods.auto import Auto
from codivide.methods.features.options import Features, refuse, unset
from codivide.methods.features.own import OwnModel, check_model, load_for
from codivide.runs import label_table
from codivide.runs.changed import check_decided
from codivide.runs.claim import claimed
from codivide.training import nets
from codivide.training.algorithm import Algorithm
from codivide.training.own_net import OwnNet, as_net
from codivide.training.plan import ASKED
from codivide.training.run import Method


class _Given(TypedDict, total=False):
    """What ``fit`` takes by name alone."""

    sample_weight: Any


class NoisyLabelClassifier(ClassifierMixin, BaseEstimator):
    """A classifier for labels that cannot be trusted; it also says which of them are wrong.

    Works on images, tables (columns of any kind, or sparse features), texts, a folder of images with one sub-folder a
    class, a manifest (CSV or Parquet), a torch or Hugging Face data set, or the name of a known set.

    Args:
        method: a name in ``codivide.METHODS``, such as "auto" (chosen from the data, see ``fit.choose_rule``) or
            "features" (heads on rows of numbers, in seconds), or an instance with its own hyper-parameters, such as
            ``METHODS["dividemix"](lambda_u=0)`` or ``Features(heads="linear")``.
        model: a classifier of your own in the place of codivide's heads: any of scikit-learn's kind with
            ``predict_proba``, a Pipeline, LightGBM, XGBoost, ... It is cross-fitted, its labels are judged, and it is
            fitted on those that look clean. None: codivide's.
        net: a network's name (``codivide.training.nets.NETS``), or "auto": an MLP for tables, a small CNN for images,
            on a GPU PreAct ResNet-18, and ResNet-50 for more than 64 pixels a side. Or a function of the number of
            classes that makes a torch module, such as ``lambda classes: Net(classes)``, or ``FILE.py:NAME`` of one;
            reading the saved model takes it again (``codivide.load_model(path, net=...)``).
        epochs: passes; None: from the size of the data (about 4,000 updates, 30 to 200 epochs).
        batch_size: samples in a batch; None, here and below: what the method asks for, else 64.
        optimizer: "sgd" or "adamw"; else "sgd".
        lr: the highest learning rate; else 0.02.
        weight_decay: of the optimizer; else 5e-4.
        schedule: "constant", "step" (a tenth from half time on), "linear", "cosine" or "one_cycle"; else "step".
        milestones: epochs at which "step" falls to a tenth, such as (80, 120), "linear" begins to fall, or "cosine" is
            lowest; else half time of "step".
        momentum: of "sgd"; else 0.9.
        average: decay of the weight average that predicts, 0: none; else chosen, or 0 where nothing is.
        sub_epoch: samples of an epoch, drawn anew for each with as many of every class; else all.
        freeze: first epochs in which only the last layer learns, for a pre-trained net; else 0.
        dropout: before the last layer, in [0, 1).
        precision: "auto", "bf16" or "fp32".
        compile: whether networks run through ``torch.compile``.
        device: "auto", "cpu" or "cuda".
        augment: views to learn from: "auto", "photo", "photo_one", "crop", "resized_crop", "shift", "jitter" or
            "none" (see ``codivide.data.views.ViewSpec``). Or views of your own: a function ``(x, generator) -> x`` of
            a batch of raw samples, or a dict of two by "weak" and "strong" (see ``codivide.data.own_views``).
        image_size: side in pixels to which files are resized; None: from the data.
        encoder: what makes features of texts or images, such as "minilm", "efficientnet-lite0" or "timm:NAME" (see
            ``codivide.data.encode``). "auto": texts become "tfidf:char" (English ones "tfidf+minilm"
            where its wheel is installed), and photos the features of "efficientnet-lite0" where the method is "auto"
            or "features", grey ones those of "efficientnet-lite0+pixels"; "none": images stay images; "best": the
            strongest there is. Or a part of your own: a function from a list of texts or from uint8 images
            ``[B, H, W, C]`` to ``[B, D]``, a torch module (images ``[B, C, H, W]`` from 0 to 1), a transformer of
            scikit-learn, or embeddings ``[N, D]`` of the samples in their order; ``predict`` then takes embeddings.
        unlabelled: the label that means "no label"; None: there is none (needed for the classes -1 and 1).
        merge_labels: read labels that differ by case, white space or Unicode form only as the most frequent of them.
        keep_na: the texts "nan", "NaN" and "None" are classes; else they mean "no label".
        class_weight: "balanced" (all classes have the same sum of weights), or a weight for each class; None: all
            alike. With the methods whose ``weighs`` is true; it multiplies ``sample_weight``.
        label: the column of a table or data frame that holds the labels, where ``y`` is not given; None: "label".
        text: the column that holds texts, which are then all that is learned from.
        columns: the columns to learn from; None: all.
        drop: columns to leave out.
        out: a new folder for the run's record; None: nothing is written.
        resume: go on from the last whole epoch of the same run in ``out``, which has the bits of one that was never
            stopped; a finished one is read, and where there is none yet it begins.
        random_state: of everything random; None: any seed, and with ``resume`` that of the run in ``out``.
        budget: time for the whole ``fit``, such as "90s", "10m" (or "5 minutes") or "2h", with method "auto"; None: as
            long as it takes. A number without a unit is refused.
        verbose: 1: progress, reasons and an estimate of the time on standard error, as the command line shows them (a
            bar on a terminal or in a notebook with ipywidgets, else lines); 0: nothing.

    Attributes:
        classes_: class values ``[C]``.
        n_features_in_: features of a sample (tables only).
        clean_proba_: ``[N]`` probability that each given label is right; NaN where there is none.
        suggested_labels_: ``[N]`` what each label most likely is: the given label where it is likely right, else a
            network's own answer; of the features the likeliest other.
        label_issues_: data frame of the samples whose suggestion differs from the given label, the most doubtful
            first, with columns id (or path), given, suggested, clean_prob, rank, suggested_prob, label_quality (which
            is clean_prob under cleanlab's name, in the order of rank). The id is what the index of ``X`` or a column id
            calls the row, where these are texts or whole numbers that are all different
            (``X.drop(clf.label_issues_["id"])``), else the row number.
        labels_: the same columns for every sample, in the order of ``X`` and with its index:
            ``X[clf.labels_["is_label_issue"]]``.
        test_labels_: the same for the samples of the test part, judged by the classifier, where ``X`` brings one: a
            folder with ``test/``, a Hugging Face ``DatasetDict``. Both then have the columns part, leaked and twin.
        annotator_quality_: data frame of the annotators where there are several, with columns name, labels (how many),
            quality (see ``codivide.noise.consensus.Consensus``) and agreement (with the others).
        history_: one record an epoch, or a round of the features.
        evidence_: what training showed of every sample, for ``noise_report``; see ``codivide.noise.evidence``.
        choice_: what was chosen and why, where something was; else None.
        model_: the trained classifier, ``codivide.Model`` or ``codivide.FeatureModel``; with ``model``, its ``model``
            is yours, fitted on the numbers of the classes.

    Examples:
        >>> import numpy as np
        >>> from codivide import Features, NoisyLabelClassifier
        >>> rng = np.random.default_rng(0)
        >>> X = rng.normal(size=(300, 4))
        >>> y = np.where(X[:, 0] > 0, "cat", "dog")
        >>> wrong = np.argsort(X[:, 0])[:3]  # dogs beyond doubt
        >>> y[wrong] = "cat"
        >>> clf = NoisyLabelClassifier(Features(heads="linear")).fit(X, y)
        >>> sorted(clf.label_issues_["id"][:3]) == sorted(wrong)
        True
        >>> clf.predict(X[wrong]).tolist()
        ['dog', 'dog', 'dog']
    """

    # Metadata routing finds what fit takes by its signature, in which sample_weight is no name (see fit).
    __metadata_request__fit: ClassVar[dict[str, bool | None]] = {"sample_weight": None}

    def __init__(
        self,
        method: str | Method | Features = "auto",
        net: str | Callable[[int], nn.Module] = "auto",
        *,
        epochs: int | None = None,
        batch_size: int | None = None,
        optimizer: Literal["sgd", "adamw"] | None = None,
        lr: float | None = None,
        weight_decay: float | None = None,
        schedule: Literal["constant", "step", "linear", "cosine", "one_cycle"] | None = None,
        milestones: Sequence[int] | None = None,
        momentum: float | None = None,
        average: float | None = None,
        freeze: int | None = None,
        sub_epoch: int | None = None,
        dropout: float = 0.0,
        precision: Literal["auto", "bf16", "fp32"] = "auto",
        compile: bool = False,
        device: str = "auto",
        augment: Any = "auto",
        image_size: int | None = None,
        encoder: Any = "auto",
        unlabelled: int | None = -1,
        merge_labels: bool = False,
        keep_na: bool = False,
        class_weight: Literal["balanced"] | Mapping[Any, float] | None = None,
        label: str | None = None,
        text: str | None = None,
        columns: Sequence[str] | None = None,
        drop: Sequence[str] | None = None,
        model: Any = None,
        out: str | Path | None = None,
        resume: bool = False,
        random_state: int | np.random.RandomState | np.random.Generator | None = 0,
        budget: str | None = None,
        verbose: int = 0,
    ) -> None:
        self.method = method
        self.net = net
        self.epochs = epochs
        self.batch_size = batch_size
        self.optimizer = optimizer
        self.lr = lr
        self.weight_decay = weight_decay
        self.schedule, self.milestones, self.momentum = schedule, milestones, momentum
        self.average = average
        self.freeze = freeze
        self.sub_epoch = sub_epoch
        self.dropout = dropout
        self.precision = precision
        self.compile = compile
        self.device = device
        self.augment = augment
        self.image_size = image_size
        self.encoder = encoder
        self.unlabelled = unlabelled
        self.merge_labels = merge_labels
        self.keep_na = keep_na
        self.class_weight = class_weight
        self.label = label
        self.text = text
        self.columns, self.drop = columns, drop
        self.model = model
        self.out, self.resume = out, resume
        self.random_state = random_state
        self.budget = budget
        self.verbose = verbose

    def _options(self) -> ReadOptions:
        return ReadOptions(
            image_size=self.image_size,
            unlabelled=self.unlabelled,
            augment=as_views(self.augment)[0],
            encoder=as_encoder(self.encoder),
            device=self.device,
            patience=patience(self.budget, "budget", ReadOptions.patience),
            merge_labels=self.merge_labels,
            keep_na=self.keep_na,
            progress=bool(self.verbose),
            label=self.label or "label",
            text=self.text,
            columns=names(self.columns),
            drop=names(self.drop),
        )

    def fit(
        self,
        X: Any,
        y: Any = None,
        corrections: Decided = None,
        groups: Any = None,
        **given: Unpack[_Given],
    ) -> Self:
        """Train, and judge every label.

        Args:
            X: images ``[N, H, W]``, ``[N, H, W, C]`` or ``[N, C, H, W]`` (uint8, or float), features ``[N, D]``,
                texts ``[N]``, a data frame with columns of any kind, or a path, set name or data set that brings its
                own labels.
            y: given labels ``[N]``, ints or strings, missing where unlabelled, or ``[N, annotators]``, missing where
                not asked: their consensus becomes the given label; None where ``X`` brings them.
            corrections: what a person decided on some of these labels: ``corrections.csv``, or a data frame with its
                columns (see ``codivide.data.corrections``), or a list of files, one a person. Their labels are trusted,
                with a probability of 1; samples marked as junk are left out, so that N, here and in the attributes, is
                smaller.
            groups: what belongs together, such as patients or videos: one value of any kind for each sample ``[N]``, or
                of a ``.csv`` or ``.parquet`` table the name of a column. No fold divides them. Copies of a sample need
                none: they are found. None: nothing is known.
            given: ``sample_weight``, ``[N]``, not negative: how much each sample counts in what is learned, as if it
                came so often. Its mean is made 1. What is said of the labels counts each once. It is no parameter by
                name, because scikit-learn then holds that weights and repetition agree in every bit, which is true of
                no classifier that deals its samples into folds or batches.

        Raises:
            InputError: the message says what is wrong and where.
        """
        began, method = time.monotonic(), self._method()
        net, views = self._net(), as_views(self.augment)[1]
        X = as_pandas(X)
        out = None if self.out is None else expand_user(self.out)
        inputs = [given for given in (X, *files_of(corrections)) if isinstance(given, str | Path)]
        if unknown := given.keys() - {"sample_weight"}:
            raise TypeError(f"fit got an unexpected keyword argument {sorted(unknown)[0]!r}")
        warn_of_order(X, groups=groups, sample_weight=given.get("sample_weight"))
        with claimed(out, resume=self.resume, inputs=inputs):
            decided = read_corrections(corrections)
            column = groups if isinstance(groups, str) else None
            options = replace(self._options(), group=column)
            if self.model is None:
                loaded = load(X, y, options=options)
            else:
                loaded, X = load_for(X, y, options)
            if column is None:
                loaded = with_groups(loaded, groups)
            warn_about_reading(loaded)
            loaded = weighted(loaded, given.get("sample_weight"), self.class_weight)
            check_decided(files_of(corrections), loaded, X, options)
            if decided is not None:
                loaded = confirm(loaded, decided)
            record = {} if decided is None else decided.record()
            source = DataRecord.of(X, options, class_weight=as_text(self.class_weight))
            plan = default_plan(len(loaded.y), method, **self._planned(), seed=self._seed(out))
            job = Job(method, plan, net, self.dropout, source, corrections=record, views=views)
            self._decided = record
            return self._fit(X, loaded, job, out, began)

    def _method(self) -> Method | Features:
        """The method, with the budget; InputError where it has none, or where one is asked for what it has not."""
        if self.resume and (self.out is None or self.model is not None):
            needs = "needs out, the folder of the run to go on with"
            raise InputError(f"resume {needs if self.out is None else 'is not for a model of your own'}")
        _check_method(self.method)
        method = build_method(self.method) if isinstance(self.method, str) else self.method
        if self.model is not None:
            if not isinstance(method, Auto | Features):
                raise InputError("model takes the place of method: leave method out")
            check_model(self.model)
            folds = method.folds if isinstance(method, Features) else Features.folds
            method = OwnModel(folds=folds, estimator=repr(self.model))
        if isinstance(method, Features):
            refuse(self._asked())
        if self.budget is None:
            return method
        if not isinstance(method, Auto):
            raise InputError('budget needs method="auto", to choose what fits into it')
        return replace(method, budget=seconds(self.budget, "budget"))

    def _net(self) -> str | OwnNet:
        """The network; InputError where it or the encoder has a name that means nothing, before data are read."""
        net, encoder = as_net(self.net), as_encoder(self.encoder)
        if isinstance(net, str) and net != "auto":
            nets.check_name(net)
        if isinstance(encoder, str):
            encode.check_name(encoder)
        return net

    def _planned(self) -> dict[str, Any]:
        """The fields of the plan that a user may ask for, but the seed, as they were given."""
        return {name: getattr(self, name) for name in ASKED if name != "seed"}

    def _seed(self, out: Path | None) -> int:
        """That of ``random_state``; where any will do, a run that is gone on with keeps its own."""
        known = seed_of(out) if self.resume and out is not None and self.random_state is None else None
        return drawn(self.random_state) if known is None else known

    def _asked(self) -> dict[str, Any]:
        """The options of a network's training, as they were given."""
        return self._planned() | {"net": self.net, "dropout": self.dropout, "augment": self.augment}

    def _fit(self, X: Any, loaded: Loaded, job: Job, out: Path | None, began: float) -> Self:
        free = unset(self._asked())
        run = partial(execute, job, loaded, out, free=free, resume=self.resume, began=began)
        if self.model is not None:
            outcome = execute_own(job, loaded, self.model, samples_of(X, loaded), out)
        elif self.verbose:
            with Stages(name_of(job.method)) as stages:
                outcome = run(begin=stages.begin, say=stages.say)
                seconds = time.monotonic() - began
                stages.end("\n".join([closing(outcome.summary, seconds), *findings_of(outcome.summary)]))
        else:
            outcome = run()
        if text := caution(outcome.summary):
            warnings.warn(text, TrainingWarning, stacklevel=2)
        self._keep(X, loaded, outcome)
        return self

    def _keep(self, X: Any, loaded: Loaded, outcome: Outcome) -> None:
        """Set the fitted attributes."""
        self.classes_ = np.asarray(loaded.classes)
        if hasattr(self, "annotator_quality_"):  # of another fit
            delattr(self, "annotator_quality_")
        if loaded.annotations is not None:
            self.annotator_quality_ = pd.DataFrame(outcome.summary["annotators"])
        remember_features(self, X, loaded)
        self.model_ = outcome.model
        self.labels_ = with_index(outcome.table, X, loaded.ids)
        if outcome.test_table is not None:
            self.test_labels_ = outcome.test_table
        elif hasattr(self, "test_labels_"):  # of an earlier fit
            del self.test_labels_
        self.label_issues_ = looked_for(outcome.table, label_table.issues(outcome.table))
        self.clean_proba_ = outcome.table["clean_prob"].to_numpy()
        self.suggested_labels_ = outcome.table["suggested"].to_numpy().astype(self.classes_.dtype)
        self.history_ = outcome.history
        self.choice_ = outcome.summary.get("choice")
        self._loaded, self._used = loaded, outcome.summary["method"]  # the chosen method, where it was "auto"
        self._verdict = outcome.summary["verdict"]
        self.evidence_ = outcome.evidence

    def audit(self, limit: int = 1000, *, thumbnails: bool = True) -> Findings:
        """What is wrong with the labels of the training data; a notebook shows a summary.

        Args:
            limit: issues listed in the facts, the most doubtful first.
            thumbnails: whether images are shown.

        Returns:
            The label table, the facts, and ``report(path)`` to write the page. A classifier that was pickled has left
            the training data behind, so that its facts have no pictures, neighbours and duplicates.
        """
        from codivide.audit.facts import findings  # most users of the estimator never audit
        from codivide.audit.material import from_fit
        from codivide.audit.noise_report import noise_report

        check_is_fitted(self)
        material = from_fit(
            self.labels_.reset_index(drop=True),
            self.classes_.tolist(),
            self.model_,
            self._loaded,
            history=self.history_,
            method=self._used,
            noise=noise_report(self),
            test=getattr(self, "test_labels_", None),
        )
        found = findings(material, limit, thumbnails=thumbnails)
        earlier, said = getattr(self, "_decided", {}), getattr(self, "_verdict", "")  # of an older pickle: none
        return replace(found, earlier=earlier, verdict=said)

    def predict_proba(self, X: Any) -> np.ndarray[Any, np.dtype[np.float64]]:
        """Class probabilities ``[N, C]`` in the order of ``classes_``, of data of the same kind as in ``fit``.

        Args:
            X: arrays or texts as in ``fit``, a folder of images, or a list of image files.
        """
        check_is_fitted(self)
        return self.model_.probs(rows_for(self, X, self._options()))

    def predict_log_proba(self, X: Any) -> np.ndarray[Any, np.dtype[np.float64]]:
        """Logarithms of ``predict_proba``; minus infinity where a probability is 0."""
        with np.errstate(divide="ignore"):
            logarithms: np.ndarray[Any, np.dtype[np.float64]] = np.log(self.predict_proba(X))
        return logarithms

    def predict(self, X: Any) -> np.ndarray[Any, Any]:
        """The likeliest class ``[N]`` of each sample."""
        best = self.predict_proba(X).argmax(1)
        labels: np.ndarray[Any, Any] = self.classes_[best]
        return labels

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.input_tags.three_d_array = True
        tags.input_tags.string = True
        tags.non_deterministic = False
        return tags

    def __getstate__(self) -> dict[str, Any]:
        state: dict[str, Any] = super().__getstate__()
        if "model_" in state:  # a model trained on an accelerator must open anywhere
            state["model_"] = deepcopy(state["model_"]).to(resolve_device("cpu"))
            state["_loaded"] = None  # the training data are the user's, and may be large
        return state


def _check_method(method: Any) -> None:
    """InputError where a method is something else, such as a classifier."""
    if not isinstance(method, str | Algorithm):
        learns = hasattr(method, "predict_proba") or hasattr(method, "fit")
        if learns and isinstance(method, type):
            name = method.__name__
            raise InputError(f"method is the class {name}, which is no method of codivide: pass it as model={name}()")
        check_instance("method", method)
        hint = "pass it as model=..." if learns else "give a name"
        raise InputError(f"method is a {type(method).__name__}, which is no method of codivide: {hint}")
