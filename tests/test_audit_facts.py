"""Facts agree with the run they describe, are strict JSON, and survive what happens to a source afterwards."""

import base64
import io
import json
import math
import pickle
import shutil
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from data_facts import HOSTILE, example_facts
from PIL import Image

from codivide import InputError, NoisyLabelClassifier, audit, noise_report
from codivide.audit import checks, facts, thumbnails
from codivide.audit.checks import labels
from codivide.audit.material import Material
from codivide.audit.shown import _brief
from codivide.core.files import of_line, read_json, to_line
from codivide.data import experiment
from codivide.data.options import ReadOptions
from codivide.data.record import DataRecord
from codivide.data.sources import load
from codivide.fit import job
from codivide.fit.execute import execute
from codivide.runs.label_table import build as label_table
from tests import toys

CLASSES = ("circle", "cross", "dots")


def draw(label, rng):
    """A 12 x 10 RGB picture of a class."""
    pixels = rng.integers(0, 60, (10, 12, 3))
    if label == 0:
        pixels[2:8, 3:9] += 150
    elif label == 1:
        pixels[4:6] += 150
        pixels[:, 5:7] += 40
    else:
        pixels[::3, ::3] += 150
    return pixels.astype(np.uint8)


def make_folder(root, count=150, seed=0):
    """Class folders in which every fifth picture lies in a wrong one; one file is broken, one picture comes twice."""
    rng = np.random.default_rng(seed)
    for name in CLASSES:
        (root / name).mkdir(parents=True)
    for k in range(count):
        label = k % 3
        shown = (label + 1) % 3 if k % 5 == 0 else label
        image = Image.fromarray(draw(label, rng))
        image.save(root / CLASSES[shown] / f"{k:03d}.png")
        if k == 7:
            image.save(root / CLASSES[2] / "twin.png")
    (root / CLASSES[0] / "broken.png").write_bytes(b"no picture")


def make_run(source, out, epochs=3, limit=None, method="cross_entropy"):
    loaded = experiment.part(load(str(source), options=ReadOptions(max_bad=5)), limit, 0)
    plan = job.default_plan(len(loaded.y), epochs=epochs, batch_size=16, lr=0.05, device="cpu", precision="fp32")
    described = DataRecord.of(source, ReadOptions(), limit=limit)
    execute(job.Job(job.build_method(method), plan, source=described), loaded, out)
    return out


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Source folder, run folder, facts."""
    with pytest.MonkeyPatch.context() as patch:
        root = tmp_path_factory.mktemp("audit")
        patch.setenv("CODIVIDE_CACHE", str(root / "cache"))
        make_folder(root / "shapes")
        torch.manual_seed(0)
        run = make_run(root / "shapes", root / "run")
        return root / "shapes", run, facts.collect(run)


@pytest.fixture
def copied(made, tmp_path):
    """The run and its source, free to be spoiled."""
    shutil.copytree(made[0], tmp_path / "shapes")
    shutil.copytree(made[1], tmp_path / "run")
    config = tmp_path / "run" / "config.json"
    toys.edit(config, source=read_json(config)["source"] | {"path": str(tmp_path / "shapes")})
    return tmp_path / "shapes", toys.unsummed(tmp_path / "run")


def kinds(value):
    """The shape of JSON values: keys and types, a list by its first element."""
    if isinstance(value, dict):
        return {name: kinds(item) for name, item in value.items()}
    if isinstance(value, list):
        return [kinds(value[0])] if value else []
    return "number" if isinstance(value, int | float) and not isinstance(value, bool) else type(value).__name__


def test_the_made_up_facts_have_the_shape_of_real_ones(made):
    real, example = kinds(made[2]), kinds(example_facts())
    assert real.keys() == example.keys()
    for name in ("pairs", "confusion", "imbalance", "duplicates", "skipped", "losses"):
        assert real[name] == example[name], name
    assert real["issues"][0] == example["issues"][0]
    assert list(real["noise"]) == list(example["noise"])
    assert real["noise"]["per_class"] == example["noise"]["per_class"]
    assert real["curves"][0]["epoch"] == "number"


def test_counts_agree_with_the_label_table(made):
    _, run, found = made
    table = pd.read_csv(run / "labels.csv")
    assert (found["samples"], found["labelled"], found["unlabelled"]) == (151, 151, 0)
    assert found["classes"] == list(CLASSES)
    for g, s in np.ndindex(3, 3):
        count = ((table["given"] == CLASSES[g]) & (table["suggested"] == CLASSES[s])).sum()
        assert found["confusion"][g][s] == count
        assert [p["count"] for p in found["pairs"] if (p["given"], p["suggested"]) == (g, s)] == (
            [count] if g != s and count else []
        )
    wrong = (table["given"] != table["suggested"]).sum()
    assert found["issues_total"] == sum(pair["count"] for pair in found["pairs"]) == wrong > 10
    assert found["imbalance"]["counts"] == [(table["given"] == name).sum() for name in CLASSES]
    assert found["imbalance"]["suggested_counts"] == [(table["suggested"] == name).sum() for name in CLASSES]
    assert found["skipped"][0]["path"] == "circle/broken.png"


def test_issues_are_those_of_the_table_most_doubtful_first(made):
    _, run, found = made
    table = pd.read_csv(run / "labels.csv")
    wrong = table[table["given"] != table["suggested"]].sort_values("rank")
    assert [issue["id"] for issue in found["issues"]] == wrong["path"].tolist()
    assert [issue["row"] for issue in found["issues"]] == wrong.index.tolist()
    for issue, (_, row) in zip(found["issues"], wrong.iterrows(), strict=True):
        assert issue["kind"] == "image"
        assert (CLASSES[issue["given"]], CLASSES[issue["suggested"]]) == (row["given"], row["suggested"])
        assert issue["clean_prob"] == pytest.approx(row["clean_prob"])
        assert issue["suggested_prob"] == pytest.approx(row["suggested_prob"])
        assert issue["rank"] == row["rank"]
    few = facts.collect(run, limit=2, thumbnails=False)
    assert [issue["id"] for issue in few["issues"]] == wrong["path"].tolist()[:2]
    assert few["issues_total"] == found["issues_total"]
    assert few["issues"][0]["thumbnail"] is None


def test_a_thumbnail_is_the_picture_of_its_sample(made):
    source, _, found = made
    issue = found["issues"][0]
    head, _, body = issue["thumbnail"].partition(",")
    assert head == "data:image/webp;base64"
    shown = np.asarray(Image.open(io.BytesIO(base64.b64decode(body))).convert("L"), dtype=float)
    original = np.asarray(Image.open(source / issue["id"]).convert("L"), dtype=float)
    assert shown.shape == original.shape == (10, 12)
    assert np.corrcoef(shown.ravel(), original.ravel())[0, 1] > 0.95


def test_examples_are_clean_samples_of_both_classes(made):
    _, run, found = made
    table = pd.read_csv(run / "labels.csv")
    pictures = thumbnails.Thumbnails(load(str(made[0])).x)
    clean = table[(table["given"] == table["suggested"]) & (table["clean_prob"] >= 0.5)]
    allowed = {name: {pictures.uri(row, 48) for row in clean.index[clean["given"] == name]} for name in CLASSES}
    assert any(issue["examples"]["suggested"] for issue in found["issues"])
    for issue in found["issues"]:
        for kind, shown in issue["examples"].items():
            name = CLASSES[issue[kind]]
            assert len(shown) == min(3, len(clean[clean["given"] == name]))
            assert set(shown) <= allowed[name]


def test_an_empty_text_is_no_example(tmp_path):
    texts = ["", *[f"red apple {k}" for k in range(20)], *[f"blue sky {k}" for k in range(20)]]
    given = [0] * 21 + [1] * 20
    given[5] = 1
    probs = np.full((41, 2), 0.1)
    probs[np.arange(41), [0] * 21 + [1] * 20] = 0.9
    found = audit.from_probs(given, probs, texts=texts).facts
    examples = [text for issue in found["issues"] for shown in issue["examples"].values() for text in shown]
    assert examples
    assert "" not in examples


def test_neighbours_of_a_wrong_label_disagree(made):
    near = [issue["neighbours"] for issue in made[2]["issues"] if issue["id"] != "dots/twin.png"]
    assert all(0 <= each["agree"] <= each["of"] == 10 for each in near)
    assert np.mean([each["agree"] for each in near]) < 5


def test_issues_that_are_described_later_are_those_of_the_facts(made, monkeypatch):
    _, run, collected = made
    whole = collected["issues"]
    _, listed = facts.paged(run)
    assert len(listed) == len(whole)
    assert [*listed[:3], listed[3], *listed[4:]] == whole
    # Those after the first are compared with nothing: their examples are the surest of the class.
    monkeypatch.setattr(labels, "_COMPARED", 2)
    monkeypatch.setattr(labels, "_DISTANCES", 0)
    _, listed = facts.paged(run)
    some = listed[1:4]
    assert some[0] == whole[1]
    table = listed.material.table
    for issue in some[1:]:
        assert issue["neighbours"] is None
        given = listed.material.classes[issue["given"]]
        clean = table[(table["given"] == given) & (table["suggested"] == given) & (table["clean_prob"] >= 0.5)]
        best = clean["clean_prob"].sort_values(ascending=False, kind="stable").index[:3]
        assert issue["examples"]["given"] == [listed.shown.example(row) for row in best]


def test_numbers_are_short_and_none_is_lost():
    values = np.array([[0.123456, 123456.7, 1234567.0, 1e-300, 0.0, -2.5e9, 999.96, 7.0, np.nan, -np.inf]])
    (short,) = _brief(values)
    assert short == [0.1235, 123457.0, 1234570.0, 1e-300, 0.0, -2.5e9, 1000.0, 7.0, None, None]


def test_the_twin_is_found_with_its_conflicting_label(made):
    first = made[2]["duplicates"][0]
    assert sorted(first["ids"]) == ["cross/007.png", "dots/twin.png"]
    assert first["exact"]
    assert sorted(first["labels"]) == [1, 2]


def test_losses_and_curves_are_those_of_the_record(made):
    _, run, found = made
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    last = rows[-1]["losses"]
    assert found["losses"]["counts"] == last["unknown"]
    assert len(found["losses"]["edges"]) == len(last["unknown"]) + 1
    assert found["losses"]["edges"][0] == last["low"]
    assert found["losses"]["edges"][-1] == pytest.approx(last["high"])
    assert [row["epoch"] for row in found["curves"]] == [1, 2, 3]
    assert found["curves"][0]["loss"] == rows[0]["loss"]
    assert "losses" not in found["curves"][0]


def test_the_same_run_gives_the_same_facts(made):
    again = facts.collect(made[1])
    assert {k: v for k, v in again.items() if k != "created"} == {k: v for k, v in made[2].items() if k != "created"}


def test_facts_are_strict_json_even_of_a_record_with_nan(copied, tmp_path):
    _, run = copied
    lines = (run / "metrics.jsonl").read_text().splitlines()
    row = of_line(lines[-1] + "\n") | {"loss": math.nan, "lr": math.inf}
    (run / "metrics.jsonl").write_text("\n".join([*lines[:-1], to_line(row)]))
    facts.write(facts.collect(run), tmp_path / "facts.json")

    def refuse(word):
        raise AssertionError(word)

    read = json.loads((tmp_path / "facts.json").read_text(), parse_constant=refuse)
    assert read["curves"][-1]["loss"] is read["curves"][-1]["lr"] is None


def test_without_its_source_a_run_still_has_facts(copied):
    source, run = copied
    shutil.rmtree(source)
    found = facts.collect(run)
    assert any("cannot be read any more" in reason for reason in found["noise"]["trust"]["reasons"])
    assert found["duplicates"] == found["outliers"] == []
    issue = found["issues"][0]
    assert issue["kind"] == "image"
    assert issue["thumbnail"] is issue["neighbours"] is None
    assert issue["examples"] == {"given": [], "suggested": []}
    assert kinds(found["confusion"]) == [["number"]]
    assert facts.originals(run) == {}


def test_where_a_photo_is_gone_the_others_are_shown_as_before(copied):
    source, run = copied
    before = facts.collect(run)
    lost = before["issues"][0]["id"]
    (source / lost).unlink()
    found = facts.collect(run)
    reasons = found["noise"]["trust"]["reasons"]
    count = before["samples"]
    assert f"1 of {count} images is gone, the first: {lost}" in reasons
    assert f"1 of {count} images cannot be shown any more; this page is of the others" in reasons
    assert found["samples"] == count - 1
    same = ("row", "id", "given", "suggested", "clean_prob", "thumbnail")
    kept = [{name: issue[name] for name in same} for issue in before["issues"][1:]]
    assert [{name: issue[name] for name in same} for issue in found["issues"]] == kept
    assert all(issue["thumbnail"] and issue["neighbours"]["of"] == 10 for issue in found["issues"])
    files = facts.originals(run)  # a row is that of the run, by which its file is served
    listed = [*found["issues"], *found["outliers"], *(one for check in found["checks"] for one in check["samples"])]
    assert all(files[one["row"]] == source / one["id"] for one in listed)
    for group in found["duplicates"]:
        assert [files[row] for row in group["rows"]] == [source / name for name in group["ids"]]
    for path in source.glob("*/*.png"):
        path.unlink()
    assert facts.collect(run)["samples"] == count  # nothing is there: the labels alone are shown


def test_a_run_without_model_or_loss_record_has_the_rest(copied):
    _, run = copied
    (run / "model.safetensors").unlink()
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    text = "".join(json.dumps({k: v for k, v in row.items() if k not in ("losses", "crc32")}) + "\n" for row in lines)
    (run / "metrics.jsonl").write_text(text)
    found = facts.collect(run)
    assert found["losses"] is None
    assert found["issues"][0]["thumbnail"]
    assert found["issues"][0]["neighbours"] is None
    assert found["issues"][0]["examples"]["suggested"]  # the surest ones
    assert any("model cannot be used" in reason for reason in found["noise"]["trust"]["reasons"])


def test_no_run_is_one_clear_error(tmp_path, copied):
    with pytest.raises(InputError, match=r"no config\.json"):
        facts.collect(tmp_path)
    _, run = copied
    for name in ("labels.csv", "labels.parquet"):
        (run / name).unlink()
    with pytest.raises(InputError, match=r"no labels\.csv"):
        facts.collect(run)


def test_originals_are_the_files(made):
    source, run, found = made
    files = facts.originals(run)
    assert len(files) == 151
    for issue in found["issues"]:
        assert files[issue["row"]] == source / issue["id"]
    assert all(path.is_file() for path in files.values())


@pytest.mark.long
def test_a_relative_source_is_found_from_anywhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make_folder(tmp_path / "shapes", 30)
    run = make_run("shapes", tmp_path / "run", epochs=1, limit=20)
    monkeypatch.chdir("/")
    found = facts.collect(run)
    assert found["samples"] == 20
    assert all(issue["thumbnail"] for issue in found["issues"])
    assert len(facts.originals(run)) == 20
    assert all(path.is_file() for path in facts.originals(run).values())


def table_of(x, given, names):
    frame = pd.DataFrame(x, columns=names)
    return frame.assign(label=[None if label < 0 else f"class {label}" for label in given])


def test_a_table_shows_its_fields(tmp_path):
    rng = np.random.default_rng(0)
    truth = np.arange(200) % 2
    x = np.round(rng.normal(size=(200, 40)), 3)
    x[:, 0] += 4 * truth
    x[:, 1] -= 4 * truth
    given = np.where(np.arange(200) % 6 == 0, 1 - truth, truth)
    given[::50] = -1
    names = [f"field {k}" for k in range(40)]
    x[:, 17] = 0.0
    table_of(x, given, names).to_csv(tmp_path / "rows.csv", index=False)
    run = make_run(tmp_path / "rows.csv", tmp_path / "run", epochs=3)
    found = facts.collect(run)
    assert (found["labelled"], found["unlabelled"]) == (196, 4)
    assert found["classes"] == ["class 0", "class 1"]
    assert sum(map(sum, found["confusion"])) == 196
    issue = found["issues"][0]
    assert (issue["kind"], issue["thumbnail"], issue["text"]) == ("row", None, None)
    row = x[issue["row"]]
    scores = np.abs(row - x.mean(0)) / np.where(x.std(0) > 0, x.std(0), 1)
    shown = sorted(np.argsort(-scores, kind="stable")[:30].tolist())
    assert issue["fields"] == [[f"field {k}", pytest.approx(row[k], rel=1e-5)] for k in shown]
    assert "field 17" not in {name for name, _ in issue["fields"]}
    assert all(text.startswith("field ") for text in issue["examples"]["suggested"])
    assert issue["neighbours"]["of"] == 10
    assert facts.originals(run) == {}


def material(given, suggested, clean_prob, classes=("a", "b"), **other):
    table = label_table(range(len(given)), np.array(given), np.array(suggested), np.array(clean_prob), classes)
    return Material("made", "none", table, tuple(map(str, classes)), **other)


def test_the_noise_is_that_of_the_noise_report(copied):
    _, run = copied
    report = noise_report(run).to_dict()
    noise = facts.collect(run)["noise"]
    assert noise == {name: report[name] for name in ("rate", "low", "high", "certain", "kind", "per_class", "trust")}


def test_where_only_p_clean_is_known_the_rate_is_its_mean_and_not_trusted():
    rng = np.random.default_rng(1)
    clean = rng.random(400)
    given = rng.integers(0, 2, 400)
    noise = facts.build(material(given, given, clean))["noise"]
    assert noise["rate"] == pytest.approx(np.mean(1 - clean))
    assert (noise["low"], noise["high"], noise["trust"]["level"]) == (0, 1, "poor")
    for k in (0, 1):
        assert noise["per_class"][k]["labelled"] == (given == k).sum()
        assert noise["per_class"][k]["rate"] == pytest.approx(np.mean(1 - clean[given == k]))


def test_a_run_without_predictions_says_what_is_missing(copied):
    _, run = copied
    (run / "predictions.npz").unlink()
    trust = facts.collect(run)["noise"]["trust"]
    assert trust["level"] == "poor"
    assert any("cannot be estimated" in reason and "predictions.npz" in reason for reason in trust["reasons"])


def test_rare_and_empty_classes():
    given = [0] * 150 + [1] * 5
    found = facts.build(material(given, given, [0.9, 0.99] * 77 + [0.8], classes=("a", "b", "never")))
    assert found["noise"]["per_class"][2] == {"class": 2, "name": "never", "labelled": 0, "rate": None}
    assert found["imbalance"]["ratio"] == 30
    assert found["issues"] == found["pairs"] == []


def test_no_label_at_all_is_no_crash():
    found = facts.build(material([-1, -1], [0, 1], [np.nan, np.nan]))
    assert (found["noise"]["low"], found["noise"]["high"], found["labelled"]) == (0, 1, 0)
    json.dumps(found, allow_nan=False)


def test_a_table_that_holds_texts_shows_them():
    made = material([0, 1, 0], [1, 1, 0], [0.1, 0.9, 0.8])
    made.table["text"] = ["first", None, "FIRST"]
    found = facts.build(made)
    assert (found["issues"][0]["kind"], found["issues"][0]["text"]) == ("text", "first")
    assert found["duplicates"][0]["rows"] == [0, 2]


def test_hostile_names_pass_through_unchanged():
    given, suggested = np.arange(10), (np.arange(10) + 1) % 10
    found = facts.build(material(given, suggested, np.linspace(0, 1, 10), HOSTILE, own_texts=HOSTILE))
    assert found["classes"] == HOSTILE
    assert found["issues"][9]["text"] == HOSTILE[9][:2000]
    assert json.loads(json.dumps(found, allow_nan=False)) == found


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 200, 100), (4, 20, 20), (2, 9, 9)])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_thumbnails_of_any_pixels(shape, dtype):
    pixels = torch.randint(0, 255, shape).to(dtype) - (7 if dtype is torch.float32 else 0)
    uri = thumbnails.encode(pixels, 96)
    image = Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2])))
    assert image.format == "WEBP"
    assert image.size == ((48, 96) if shape[1] == 200 else (shape[2], shape[1]))
    flat = thumbnails.encode(torch.zeros(shape), 96)
    assert flat.startswith("data:image/webp;base64,")


@pytest.fixture(scope="module")
def fitted():
    rng = np.random.default_rng(0)
    truth = np.arange(120) % 3
    x = np.stack([draw(label, rng) for label in truth])
    names = np.array(['<b onclick="x">', "b", "c"])
    y = names[np.where(np.arange(120) % 7 == 0, (truth + 1) % 3, truth)]
    clf = NoisyLabelClassifier("cross_entropy", epochs=6, batch_size=16, lr=0.05, device="cpu").fit(x, y)
    return clf, x


@pytest.mark.long
def test_a_classifier_audits_in_memory(fitted):
    clf, _ = fitted
    found = clf.audit()
    assert found.facts["samples"] == 120
    assert found.facts["issues_total"] == len(found.label_issues) == len(clf.label_issues_) > 5
    assert found.facts["issues"][0]["thumbnail"].startswith("data:image/webp")
    assert found.facts["losses"]["counts"]
    assert sum(found.facts["losses"]["counts"]) == 120
    np.testing.assert_array_equal(found.clean_prob, clf.clean_proba_)
    assert found.facts["noise"]["rate"] == noise_report(clf).rate
    page = found._repr_html_()
    assert "<b onclick" not in page
    assert "&lt;b onclick" in page
    assert "labels look wrong" in repr(found)


def test_a_pickled_classifier_leaves_the_data_behind(fitted):
    clf, _ = fitted
    small = pickle.dumps(clf)
    found = pickle.loads(small).audit()
    assert found.facts["issues_total"] == clf.audit().facts["issues_total"]
    assert found.facts["issues"][0]["thumbnail"] is None
    assert any("pickled" in reason for reason in found.facts["noise"]["trust"]["reasons"])


def test_quality_is_clean_probability(fitted):
    table = fitted[0].labels_
    names = [column.name for column in checks.columns()]
    assert table.columns[-len(names) - 1 :].tolist() == ["label_quality", *names]
    pd.testing.assert_series_equal(table["label_quality"], table["clean_prob"], check_names=False)
    other = table[table["suggested"] != table["given"]]  # the network's own answers
    assert len(other)
    assert other["suggested_prob"].between(1 / 3, 1).all()
    assert table["suggested_prob"].between(0, 1).all()


def test_to_pandas_and_datasets(fitted, made, tmp_path):
    import datasets

    clf, x = fitted
    assert audit.to_pandas(clf).equals(clf.labels_)
    assert len(audit.to_pandas(made[1])) == 151
    whole = datasets.Dataset.from_dict({"label": clf.labels_["given"].tolist(), "n": list(range(len(x)))})
    judged = audit.to_datasets(clf, whole)
    assert judged["n"] == whole["n"]
    assert judged["suggested"] == clf.labels_["suggested"].tolist()
    assert judged["label_quality"] == clf.labels_["clean_prob"].tolist()
    with pytest.raises(InputError, match="'given' already"):
        audit.to_datasets(clf, judged)
    with pytest.raises(InputError, match="row 119"):
        audit.to_datasets(clf, whole.select(range(50)))
    named = SimpleNamespace(labels_=clf.labels_.assign(id=clf.labels_["id"].to_numpy()[::-1]))  # of a shuffled frame
    assert audit.to_datasets(named, whole)["suggested"] == judged["suggested"]
    with pytest.raises(InputError, match="not row numbers"):
        audit.to_datasets(named, datasets.Dataset.from_dict({"n": range(len(x) + 1)}))
    pictures = audit.to_datasets(made[1])
    assert pictures[3]["image"].size == (12, 10)
    assert pictures[3]["path"] == audit.to_pandas(made[1])["path"][3]
    with pytest.raises(InputError, match="files"):
        audit.to_datasets(made[1], whole)
    with pytest.raises(InputError, match="fitted"):
        audit.to_pandas(NoisyLabelClassifier())
