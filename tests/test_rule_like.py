"""Labels that look like a rule of a few features are said; labels of smooth classes and noisy labels are not."""

import os
import warnings
from math import log
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.datasets import load_breast_cancer, load_digits
from sklearn.feature_extraction.text import CountVectorizer

from codivide import Features, NoisyLabelClassifier, TrainingWarning, noise_report
from codivide.data.loaded import Loaded
from codivide.data.rows import TensorRows
from codivide.methods.features import rule_like

QUICK = Features(heads="linear", correct=False)
TOPICS = (
    ["match", "goal", "team", "coach", "season", "league", "player", "score", "win", "stadium"],
    ["cell", "energy", "theory", "orbit", "sample", "data", "planet", "gene", "protein", "laser"],
)
KEYWORDS = ("team", "cell")


def texts(samples=900, keyword=0.5, seed=0):
    """Texts of two topics, half of them with a key word of either; topics, and labels of a rule on key words."""
    generator = np.random.default_rng(seed)
    topic = generator.integers(0, 2, samples)
    every = sorted(TOPICS[0] + TOPICS[1])
    found, labels = [], np.full(samples, -1)
    for i, k in enumerate(topic.tolist()):
        words = [w for w in [*generator.choice(TOPICS[k], 3), *generator.choice(every, 5)] if w not in KEYWORDS]
        if generator.random() < keyword:
            labels[i] = k if generator.random() < 0.7 else 1 - k
            words.append(KEYWORDS[labels[i]])
        found.append(" ".join(generator.permutation([*words, f"w{generator.integers(600)}", f"v{i % 400}"])))
    return found, topic, labels


def test_key_words_are_named_and_the_report_is_no_longer_good():
    lines, topic, labels = texts(keyword=1.0)
    with pytest.warns(TrainingWarning, match="labels look like a rule of the features"):
        clf = NoisyLabelClassifier(QUICK).fit(lines, labels)
    said = clf.history_[-1]["warnings"][rule_like.KEY]
    assert "1 of" in said  # one of the two says all
    assert "('cell')" in said
    assert (labels != topic).mean() > 0.2  # which the rate of the heads does not see
    report = noise_report(lines, labels, replicates=2)
    assert report.rate < 0.1
    assert report.trust.level != "good"
    assert report.trust.reasons[0] == said
    facts = clf.audit(limit=1).facts
    assert facts["noise"]["trust"]["reasons"][0] == said


def test_texts_without_words_hold_no_rule_whatever_encodes_them():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 200)
    lines = [" ".join(rng.choice(list("abc" if k else "def"), 3)) for k in labels]
    clf = NoisyLabelClassifier(QUICK, encoder=CountVectorizer(analyzer="char")).fit(lines, labels)
    assert rule_like.KEY not in clf.history_[-1].get("warnings", {})


@pytest.mark.parametrize("noise", [0.0, 0.3])
def test_labels_of_a_topic_are_no_rule(noise):
    lines, topic, _ = texts()
    labels = np.where(np.random.default_rng(1).random(len(topic)) < noise, 1 - topic, topic)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="labels look like a rule")
        NoisyLabelClassifier(QUICK).fit(lines, labels)


@pytest.mark.parametrize("read", [load_breast_cancer, load_digits])
def test_tables_of_people_are_no_rule(read):
    held = read()
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="labels look like a rule")
        NoisyLabelClassifier(QUICK).fit(held.data[:600], held.target[:600])


def test_a_rule_on_a_table_is_named_by_its_columns():
    import pandas as pd

    x = np.random.default_rng(0).normal(size=(900, 60))
    frame = pd.DataFrame(x, columns=[f"c{k}" for k in range(60)])
    with pytest.warns(TrainingWarning, match=r"2 of 60 features \('c[07]', 'c[07]'\)"):
        NoisyLabelClassifier(QUICK).fit(frame, ((x[:, 0] > 0) & (x[:, 7] > 0.2)).astype(int))


def test_of_a_long_table_few_rows_are_read(monkeypatch):
    """A copy of all would be twice the memory of a million rows."""

    class Counted(TensorRows):
        asked = 0

        def __getitem__(self, ids):
            self.asked += len(ids)
            return super().__getitem__(ids)

    rng = np.random.default_rng(0)
    x = torch.from_numpy(rng.normal(size=(900, 40)).astype(np.float32))
    labels = (x[:, 3] > 0).long().numpy()
    seen = np.full(900, 0.6)
    monkeypatch.setattr(rule_like, "_ROWS", 200)
    rows = Counted(x)
    said = rule_like.remark(Loaded(rows, labels, ("a", "b"), range(900), "none"), seen)
    assert "1 of 40 features ('3')" in said
    assert rows.asked == 200


def test_what_is_explained_is_the_log_loss_below_the_entropy():
    generator = np.random.default_rng(0)
    x = generator.normal(size=(300, 40)).astype(np.float32)
    given = (x[:, 3] > 0).astype(np.int64)
    seen = np.full(300, 0.7)
    found = rule_like.find(x, given, seen, words=False)
    share = np.bincount(given) / 300
    entropy = -sum(p * log(p) for p in share)
    assert found.by_all == pytest.approx(1 + log(0.7) / entropy)
    assert found.features == (3,)
    assert found.explained > 0.9
    assert rule_like.find(x, given, np.full(300, 0.99), words=False) is None  # all explain as much
    assert rule_like.find(x[:40], given[:40], seen[:40], words=False) is None  # too few
    assert rule_like.find(x[:, :10], given, seen, words=False) is None  # a few features are most of them


@pytest.mark.slow
@pytest.mark.parametrize(("labels", "said"), [("y_train_noisy", True), ("y_train_true", False)])
def test_distant_labels_of_hausa_headlines(labels, said):
    with np.load(Path(os.environ["CODIVIDE_DATA"]) / "text" / "hausa_newsclass_distant.npz") as held:
        lines, given = held["text_train"].tolist(), held[labels]
    report = noise_report(lines, given, replicates=2)
    assert any("labels look like a rule" in reason for reason in report.trust.reasons) == said
