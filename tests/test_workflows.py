"""Several steps one after the other, as users take them: rows with names, probabilities from elsewhere, clean, fit."""

import sys
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from sklearn.naive_bayes import GaussianNB

from codivide import (
    Features,
    InputError,
    NoisyLabelClassifier,
    NoisyLabelRegressor,
    audit,
    load_model,
    noise_report,
    score_labels,
)
from codivide.audit import clean as cleaning
from codivide.audit import serve
from codivide.cli.app import main
from codivide.core.errors import TrainingWarning
from codivide.data.labels import encode
from codivide.data.sources import load
from codivide.fit.estimator_parts import drawn
from codivide.runs import label_table


def flowers(count=120, wrong=12, seed=0):
    """Two clouds; the first labels are the other cloud's."""
    rng = np.random.default_rng(seed)
    truth = np.arange(count) % 2
    x = rng.normal(0, 0.5, (count, 3)) + 3 * truth[:, None]
    given = truth.copy()
    given[:wrong] = 1 - truth[:wrong]
    return x, np.array(["rose", "tulip"])[given], np.array(["rose", "tulip"])[truth]


@pytest.fixture
def ask(monkeypatch, capsys):
    """A command: its exit code, and what it printed."""

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["codivide", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            main()
        said = capsys.readouterr()
        return ended.value.code or 0, " ".join((said.out + said.err).split())

    return run


def test_rows_with_names_are_called_id_everywhere(tmp_path):
    x, y, _ = flowers()
    names = [f"p{k:03}" for k in range(len(x))]
    frame = pd.DataFrame(x, columns=list("abc"), index=names)
    clf = NoisyLabelClassifier(Features(heads="linear"), out=tmp_path / "run").fit(frame, pd.Series(y, index=names))
    assert sorted(clf.label_issues_["id"]) == names[:12]
    assert "path" not in clf.labels_
    reg = NoisyLabelRegressor().fit(frame, x.sum(1))
    assert reg.labels_["id"].tolist() == names
    for result in (clf.model_, clf.evidence_, noise_report(clf), clf.audit(), reg.model_, reg.noise_report_):
        assert len(repr(result)) < 120  # a line, not all numbers that it holds
    written = cleaning.clean(tmp_path / "run", tmp_path / "cleaned")
    assert written.changes["id"].isin(names).all()
    assert pd.read_csv(tmp_path / "cleaned/labels_clean.csv").columns.tolist() == ["id", "label"]


def test_rows_of_a_part_keep_their_numbers(tmp_path):
    x, y, truth = flowers()
    drawn_rows = np.random.default_rng(1).permutation(200)[: len(x)]
    frame = pd.DataFrame(x, columns=list("abc"), index=pd.Index(drawn_rows, name="row"))
    given, features = pd.Series(y, index=frame.index), Features(heads="linear")
    wrong = set(drawn_rows[y != truth])
    texts = pd.Series([f"a {name}, number {row}" for row, name in enumerate(truth)], index=frame.index)
    NoisyLabelClassifier(features, out=tmp_path / "run").fit(frame, given)
    cleaning.clean(tmp_path / "run", tmp_path / "cleaned")
    assert 'there clf.audit().report("audit.html") shows them' in str(audit.collect(tmp_path / "run")["remarks"])
    with pytest.raises(InputError, match=r"run exists and is not empty; give another as out=, or resume=True to go on"):
        NoisyLabelClassifier(out=tmp_path / "run").fit(frame, given)
    assert set(pd.read_csv(tmp_path / "cleaned/labels_clean.csv").columns) == {"id", "label"}  # no numbers of rows
    fits = [
        NoisyLabelClassifier(features).fit(frame, given),
        NoisyLabelClassifier(features).fit(frame.assign(label=given)),
        NoisyLabelClassifier(model=GaussianNB()).fit(frame, given),
    ]
    for clf in fits:
        assert set(clf.label_issues_["id"]) == wrong
        assert clf.labels_.index.equals(frame.index)
        assert set(frame[clf.labels_["is_label_issue"]].index) == wrong
        assert clf.audit().facts["issues_total"] == len(wrong)
    assert NoisyLabelClassifier(features).fit(texts, given).labels_["id"].tolist() == drawn_rows.tolist()
    assert NoisyLabelRegressor().fit(frame, x.sum(1)).labels_.index.equals(frame.index)
    probs = np.eye(2)[(truth == "tulip").astype(int)] * 0.8 + 0.1
    found = audit.from_probs(given, probs, classes=["rose", "tulip"]).labels
    assert set(label_table.issues(found)["id"]) == wrong


def test_rows_that_share_a_number_go_by_their_place():
    x, y, _ = flowers()
    half = pd.DataFrame(x[:60]), pd.DataFrame(x[60:])
    with pytest.warns(
        TrainingWarning, match=r"the index names 60 rows again \(the first in row 60\), so rows are called"
    ):
        clf = NoisyLabelClassifier(Features(heads="linear")).fit(pd.concat(half), y)
    assert sorted(clf.label_issues_["id"]) == list(range(12))


def test_the_index_of_answers_names_no_samples():
    _, y, _ = flowers(60)
    one = pd.DataFrame({"text": [f"spring {k}" for k in range(60)], "annotator": "ann", "label": y})
    both = pd.concat([one, one.assign(annotator="ben")]).sample(frac=1, random_state=0)
    both.index = both.index + 60 * (both["annotator"] == "ben")
    loaded = load(both)
    assert len(loaded.y) == 60
    assert loaded.annotations is not None


def test_names_of_rows_survive_the_csv_file_alone(tmp_path):
    for names in (["007", "8", "=1+1", "9"], list(range(4))):
        table = label_table.build(names, np.array([0, 1, 0, 1]), np.array([0, 1, 1, 1]), np.full(4, 0.9), ["a", "b"])
        label_table.write(table, tmp_path)
        (tmp_path / label_table.PARQUET).unlink()
        assert label_table.read(tmp_path)["id"].tolist() == names


def test_a_table_with_text_ids_is_predicted_by_them(tmp_path, ask):
    x, y, _ = flowers()
    table = pd.DataFrame(x, columns=list("abc")).assign(id=[f"p{k:03}" for k in range(len(x))], label=y)
    table.to_csv(tmp_path / "t.csv", index=False)
    NoisyLabelClassifier(Features(heads="linear"), out=tmp_path / "run").fit(tmp_path / "t.csv")
    assert label_table.read(tmp_path / "run")["id"].tolist() == table["id"].tolist()
    code, said = ask("predict", tmp_path / "run", tmp_path / "t.csv")
    assert code == 0
    assert said.startswith("id,label")


def judged_elsewhere(tmp_path, **more):
    _, y, truth = flowers()
    right = np.where(truth == "rose", 0.95, 0.05)
    return audit.from_probs(y, np.column_stack([right, 1 - right]), out=tmp_path / "audited", **more), y, truth


def test_an_audit_of_probabilities_is_shown_served_and_cleaned(tmp_path, ask):
    found, y, truth = judged_elsewhere(tmp_path)
    folder = tmp_path / "audited"
    code, said = ask("audit", folder)
    assert code == 0
    assert "12 of 120 labels look wrong" in said
    page = (folder / "report.html").read_text()
    assert "tulip" in page
    known = cleaning.read_run(folder).known()
    with serve.open_decisions(folder, known) as decisions:
        decisions.save("3", y[3], "accept", truth[3])
    assert audit.collect(folder) == found.facts
    assert audit.originals(folder) == {}
    code, said = ask("serve", folder, "--export")
    assert code == 0
    decided = ("--corrections", folder / "corrections.csv", "--relabel-above", "0.5")
    code, said = ask("clean", folder, "--out", tmp_path / "cleaned", *decided)
    assert code == 0, said
    cleaned = pd.read_csv(tmp_path / "cleaned/labels_clean.csv")
    assert cleaned["row"].tolist() == list(range(120))
    assert cleaned["label"].tolist() == truth.tolist()


def test_an_audit_of_probabilities_says_what_it_is_not(tmp_path, ask):
    judged_elsewhere(tmp_path)
    folder = tmp_path / "audited"
    (tmp_path / "t.csv").write_text("id,label\n0,rose\n")
    code, said = ask("clean", folder, "--out", tmp_path / "cleaned", "--source", tmp_path / "t.csv")
    assert code == 2
    assert "the rows of a table are known by the ids" in said
    code, said = ask("plot", folder)
    assert code == 2
    assert "holds an audit of probabilities and no run" in said


@pytest.mark.parametrize(
    ("x", "y", "said"),
    [
        (pd.DataFrame(np.ones((4, 2))).to_records(), [0, 1] * 2, "Make a data frame of records"),
        ([{"a": 1.0}, {"a": 2.0}], [0, 1], "objects of type dict"),
        (np.ones((4, 2)) * 1j, [0, 1] * 2, "Complex data not supported$"),
        (np.ones((4, 2)), np.arange(4) * 1j, "Complex data not supported$"),
        (np.ones((4, 2)), sparse.csr_matrix([[0], [1], [0], [1]]), r"y.toarray\(\).ravel\(\)"),
        (np.ones((4, 2)), pd.cut([1, 2, 3, 4], 2), "values of type Interval"),
        (np.ones((4, 2)), [-1, 1, -1, 1], "exactly -1 and 1"),
    ],
)
def test_what_is_no_data_is_one_short_error(x, y, said):
    with pytest.raises(InputError, match=said):
        NoisyLabelClassifier("features").fit(x, y)


def test_sentiments_are_not_taken_for_missing_labels_in_silence():
    x = np.random.default_rng(0).normal(size=(90, 2)) + 4 * (np.arange(90) % 3)[:, None]
    y = np.arange(90) % 3 - 1
    with pytest.warns(TrainingWarning, match="the 30 rows with -1 are taken for rows without a label"):
        NoisyLabelClassifier(Features(heads="linear")).fit(x, y)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert encode(y, unlabelled=None)[1] == (-1, 0, 1)
        assert encode(np.where(np.arange(90) < 60, -1, y % 2))[1] == (0, 1)  # most have no label


def test_sparse_columns_of_a_frame_are_learned_from():
    x, y, truth = flowers()
    frame = pd.DataFrame(x.round(), columns=list("abc"))
    for columns in (frame.astype(pd.SparseDtype(float, 0)), frame.astype(pd.SparseDtype(float, 1))):
        clf = NoisyLabelClassifier(Features(heads="linear")).fit(columns, y)
        assert (clf.predict(columns) == truth).mean() > 0.95


@pytest.mark.parametrize("random_state", [True, np.random.default_rng(0), np.random.RandomState(0), None])
def test_any_source_of_randomness_is_taken(random_state):
    assert drawn(random_state) >= 0
    with pytest.raises(InputError, match=r"random_state 1\.5: give a whole number"):
        drawn(1.5)


def test_samples_of_probabilities_are_called_as_they_are_given():
    _, y, truth = flowers()
    right = np.where(truth == "rose", 0.95, 0.05)
    probs = np.column_stack([right, 1 - right])
    names = [f"p{k}" for k in range(120)]
    assert audit.from_probs(pd.Series(y, index=names), probs).labels["id"].tolist() == names
    assert audit.from_probs(pd.Series(y), probs).labels["id"].tolist() == list(range(120))
    paths = [Path(f"{k}.jpg") for k in range(120)]
    assert audit.from_probs(y, probs, ids=paths).labels["path"].tolist() == [f"{k}.jpg" for k in range(120)]
    assert audit.from_probs(y, probs, ids=np.arange(120) + 0.5).labels["id"][1] == "1.5"
    for ids, said in (([None] * 120, "row 0 has none"), (["a"] * 120, "row 1 is called 'a' as one before it is")):
        with pytest.raises(InputError, match=said):
            audit.from_probs(y, probs, ids=ids)


def test_probabilities_that_have_nothing_to_do_with_the_labels_are_said():
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, 300)
    probs = 0.1 + 0.7 * np.eye(3)[y]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        wrong = np.where(rng.random(300) < 0.5, rng.integers(0, 3, 300), y)
        audit.from_probs(wrong, probs)  # half of them are wrong, and that is seen
        rare = (rng.random(300) < 0.1).astype(int)
        score_labels("combined", rare, pred_probs=np.column_stack([0.7 - 0.1 * rare, 0.3 + 0.1 * rare]))
    with pytest.warns(UserWarning, match="no more than by chance .* are the rows those of the labels"):
        audit.from_probs(y, probs[rng.permutation(300)])


def test_noise_report_says_in_what_order_it_takes_its_arguments():
    y, probs = np.arange(60) % 2, np.full((60, 2), 0.5)
    for arguments in ((y, probs), (None, y), (pd.Series(y), probs)):
        with pytest.raises(InputError, match=r"noise_report\(None, y, pred_probs=...\)"):
            noise_report(*arguments)


def test_a_column_that_is_no_longer_of_numbers_is_named():
    x, y, _ = flowers()
    frame = pd.DataFrame(x, columns=list("abc"))
    clf = NoisyLabelClassifier(Features(heads="linear")).fit(frame, y)
    with pytest.raises(InputError, match="column 'b': could not convert string to float: 'none'"):
        clf.predict(frame.assign(b="none"))


def test_a_column_that_is_empty_in_new_data_is_said():
    x, y, _ = flowers()
    frame = pd.DataFrame(x, columns=list("abc")).assign(soil=np.array(["clay", "sand"])[np.arange(120) // 60])
    clf = NoisyLabelClassifier(Features(heads="linear")).fit(frame, y)
    with pytest.warns(UserWarning, match="column 'soil': all 120 cells are empty, and none was in training"):
        clf.predict(frame.assign(soil=None))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        clf.predict(frame.assign(b=frame["b"].where(frame.index > 3)))


def test_weights_of_classes_that_are_a_list_are_refused():
    x, y, _ = flowers()
    with pytest.raises(InputError, match="class_weight is a list; give 'balanced' or a dict"):
        NoisyLabelClassifier(Features(heads="linear"), class_weight=[1, 2]).fit(x, y)


def test_a_saved_run_predicts_what_it_was_fitted_to(tmp_path):
    x, y, _ = flowers()
    plain = pd.DataFrame(x, columns=list("abc"))
    mixed = plain.assign(soil=np.array(["clay", "sand"])[np.arange(120) % 2])
    texts = [f"{name} {'red' if name == 'rose' else 'blue'} {k}" for k, name in enumerate(y)]
    forms = {"plain": (plain, x, x.tolist(), plain[list("cba")], sparse.csr_matrix(x)), "mixed": (mixed,)}
    for name, given in (forms | {"texts": (texts,)}).items():
        clf = NoisyLabelClassifier(Features(heads="linear"), out=tmp_path / name).fit(given[0], y)
        saved = load_model(tmp_path / name)
        for samples in given:
            assert saved.probs(samples) == pytest.approx(clf.predict_proba(given[0]), abs=1e-6)
    with pytest.raises(InputError, match="X has 2 features, but the model is expecting 3"):
        load_model(tmp_path / "plain").probs(x[:, :2])
    reg = NoisyLabelRegressor(out=tmp_path / "numbers").fit(mixed, x.sum(1))
    assert load_model(tmp_path / "numbers").predict(mixed) == pytest.approx(reg.predict(mixed))


def test_exact_targets_and_texts_for_features_end_in_no_words_of_other_libraries():
    x, y, _ = flowers()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        NoisyLabelRegressor().fit(np.column_stack([x, x]), x.sum(1))
    with pytest.raises(InputError, match="features is no array of numbers"):
        score_labels("neighbour_agreement", y, features=["red and round"] * 120)


@pytest.mark.parametrize(
    ("settings", "said"), [({"epochs": 2.5}, "epochs is 2.5; .* whole"), ({"lr": "0.1"}, "lr is '0.1'")]
)
def test_settings_of_another_type_are_refused_before_training(settings, said):
    with pytest.raises(InputError, match=said):
        NoisyLabelClassifier("cross_entropy", **settings).fit(np.eye(6), [0, 1] * 3)
