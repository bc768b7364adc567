"""Photos with a budget: the encoder's network is trained further, is judged by hidden labels, and is saved beside."""

import json
import pickle
import shlex
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from torch import nn

from codivide import NoisyLabelClassifier, load_model
from codivide.audit.material import from_run
from codivide.cli import output
from codivide.cli.app import main
from codivide.core.errors import InputError
from codivide.data import encode, tuned
from codivide.data.efficientnet import efficientnet_lite0
from codivide.data.encoder import Encoding
from codivide.data.options import ReadOptions
from codivide.data.rows import BesideRows, TensorRows
from codivide.data.sources import load
from codivide.fit import tuning
from codivide.fit.budget import Budget
from codivide.methods.features.learn import Learned
from codivide.methods.features.model import FeatureModel, mixed
from codivide.methods.features.tuned import SoftTargets, hidden, rejudged, targets, weighed
from codivide.runs.folder import TOO_LITTLE
from codivide.training import loop
from codivide.training.plan import Plan
from codivide.training.samples import Data

SIDE = 32


def some(probs, given, clean, model=None):
    """What heads have learned, of which only some is asked."""
    return Learned(
        model=model,
        probs=torch.tensor(probs),
        given_probs=torch.tensor(probs),
        seen=torch.ones(len(given)),
        clean_prob=torch.tensor(clean, dtype=torch.float64),
        suggested=torch.tensor(given),
        report={"doubtful_from": 0.5},
    )


def drawn(count, classes, seed, sharp=3.0, wrong=0.3):
    """True classes, given labels of which some are drawn anew, and probabilities that mostly know the true ones."""
    random = np.random.default_rng(seed)
    truth = random.integers(0, classes, count)
    given = np.where(random.random(count) < wrong, random.integers(0, classes, count), truth)
    logits = random.normal(size=(count, classes)) + sharp * np.eye(classes)[truth]
    return truth, torch.from_numpy(given), torch.log_softmax(torch.from_numpy(logits).float(), 1)


def test_targets_are_labels_as_far_as_they_are_believed():
    probs = np.array([[0.2, 0.8], [0.6, 0.4], [0.3, 0.7]])
    given, clean = [0, 0, -1], [0.75, 1.0, np.nan]
    expected = np.zeros((3, 2))
    for i, (label, believed) in enumerate(zip(given, clean, strict=True)):
        for c in range(2):
            expected[i, c] = probs[i, c] if label < 0 else believed * (c == label) + (1 - believed) * probs[i, c]
    assert np.allclose(targets(some(probs, given, clean), torch.tensor(given)), expected, atol=1e-6)


def test_the_loss_is_the_cross_entropy_with_the_targets():
    x, given = torch.randn(12, 4), torch.tensor([0, 1, 2] * 4)
    soft = torch.softmax(torch.randn(12, 3), 1)
    weight = torch.rand(12) + 0.5
    views = {"plain": lambda x, _: x, "weak": lambda x, _: x}
    data = Data(TensorRows(x), given, (0, 1, 2), views, weight=weight / weight.mean())
    torch.manual_seed(1)
    net = nn.Linear(4, 3)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    plan = Plan(epochs=1, batch_size=12, lr=0.1, momentum=0.0, weight_decay=0.0, device="cpu", precision="fp32")
    run = loop.train(SoftTargets(soft), data, lambda: net, plan)
    logits = x @ before["weight"].T + before["bias"]
    expected = 0.0
    for i in range(12):
        row = logits[i] - logits[i].exp().sum().log()
        expected += float(data.weight[i]) * -sum(float(soft[i, c] * row[c]) for c in range(3)) / 12
    assert run.history[0]["loss"] == pytest.approx(expected, rel=1e-5)
    gradient = (data.weight[:, None] * (torch.softmax(logits, 1) - soft)).T @ x / 12
    assert torch.allclose(net.weight.detach(), before["weight"] - 0.1 * gradient, atol=1e-6)


def test_mixing_is_between_both():
    probs, said = torch.tensor([[0.7, 0.2, 0.1]]), torch.tensor([[0.1, 0.6, 0.3]]).log()
    assert torch.allclose(mixed(probs, said, 0.0), probs)
    assert torch.allclose(mixed(probs, said, 1.0), said.exp())
    half = np.sqrt(np.array([0.07, 0.12, 0.03]))
    assert np.allclose(mixed(probs, said, 0.5).numpy()[0], half / half.sum(), atol=1e-6)


def test_hidden_labels_are_a_fifth_and_groups_stay_whole():
    given = np.array([0, 1] * 100 + [-1] * 50)
    rows = hidden(given, None, 3)
    assert len(rows) == 40
    assert (given[rows] >= 0).all()
    assert np.array_equal(rows, hidden(given, None, 3))
    assert not np.array_equal(rows, hidden(given, None, 4))
    groups = np.arange(250) // 4
    whole = hidden(given, groups, 3)
    assert 37 <= len(whole) <= 40
    assert all((np.isin(np.flatnonzero(groups == group), whole)).all() for group in np.unique(groups[whole]))
    assert len(hidden(np.zeros(50_000, dtype=np.int64), None, 0)) == 2_000


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_network_counts_where_hidden_labels_are_likelier_with_it(seed):
    truth, given, said = drawn(600, 4, seed)
    _, _, other = drawn(600, 4, seed + 100)
    weak = torch.softmax(0.5 * said + 0.5 * torch.randn(600, 4, generator=torch.Generator().manual_seed(seed)), 1)
    found = weighed(weak, said, given)
    assert found.share >= 0.5
    assert found.gain > 2 * found.error > 0
    assert found.agreement[1] > found.agreement[0]
    assert weighed(torch.softmax(said, 1), other, given).share == 0  # what knows of other samples
    assert weighed(torch.softmax(said, 1), said, given).share == 0  # the same again
    right = [(mixed(weak, said, share).argmax(1).numpy() == truth).mean() for share in (0.0, found.share)]
    assert right[1] > right[0]


def test_labels_are_weighed_as_often_as_they_count():
    _, given, said = drawn(300, 3, 0)
    _, _, other = drawn(300, 3, 1)
    probs, said = torch.softmax(0.3 * said, 1), torch.cat([said[:150], other[150:]])  # it knows the first half alone
    often = torch.arange(300).repeat_interleave(torch.tensor([1] * 150 + [2] * 150))
    repeated = weighed(probs[often], said[often], given[often])
    counted = weighed(probs, said, given, np.array([1.0] * 150 + [2.0] * 150))
    assert counted.share == repeated.share
    assert counted.gain == pytest.approx(repeated.gain, abs=2e-3)
    first = weighed(probs, said, given, np.array([1.0] * 150 + [1e-6] * 150))
    alone = weighed(probs[:150], said[:150], given[:150])
    assert first.share == alone.share > counted.share
    assert first.error == pytest.approx(alone.error, rel=0.1)


def test_a_group_that_is_too_large_to_hide_is_passed_over():
    given, groups = np.zeros(100, dtype=np.int64), np.r_[np.zeros(60), 1 + np.arange(40) // 5].astype(np.int64)
    for seed in range(8):
        rows = hidden(given, groups, seed)
        assert len(rows) == 20
        assert (groups[rows] > 0).all()


def test_confirmed_labels_alone_leave_nothing_to_judge():
    truth, given, said = drawn(40, 3, 0, wrong=0.0)
    model = FeatureModel(None, torch.zeros(5, 2), [], torch.ones(3), 0.0, (0, 1, 2))
    before = some(torch.softmax(said, 1).tolist(), truth.tolist(), [1.0] * 40, model)
    after = rejudged(before, said, 0.5, given, torch.ones(40, dtype=torch.bool))
    assert (after.clean_prob == 1).all()
    assert torch.equal(after.suggested, given)


def test_labels_are_judged_again_at_the_same_level():
    truth, given, said = drawn(400, 3, 0)
    probs = torch.softmax(0.4 * said, 1)
    clean = (given.numpy() == truth) * 0.6 + 0.2
    model = FeatureModel(None, torch.zeros(5, 2), [], torch.ones(3), 0.0, (0, 1, 2))
    confirmed = torch.zeros(400, dtype=torch.bool)
    confirmed[:7] = True
    clean[:7] = 1.0
    before = some(probs.tolist(), given.tolist(), clean.tolist(), model)
    after = rejudged(before, said, 0.5, given, confirmed)
    rows = np.arange(7, 400)
    assert (after.clean_prob[:7] == 1).all()
    assert after.clean_prob[rows].mean() == pytest.approx(clean[rows].mean(), abs=1e-6)
    own = said.exp()[np.arange(400), given].double().numpy()
    odds = [0.5 * np.log(c / (1 - c)) + 0.5 * np.log(q / (1 - q)) for c, q in zip(clean[rows], own[rows], strict=True)]
    moved = torch.logit(after.clean_prob[rows]).numpy() - np.array(odds)
    assert np.ptp(moved) < 1e-6  # all by the same amount
    assert torch.allclose(after.probs, mixed(probs, said, 0.5))
    assert after.model.tuned == 0.5
    assert after.model.shape == (8,)


def small():
    """A copy of the packaged network with weights of chance."""
    torch.manual_seed(0)
    return tuned.Copy(efficientnet_lite0(weights=False).eval(), nn.Linear(1280, 3)).eval()


def test_the_copy_says_what_its_network_says(tmp_path):
    x = TensorRows(torch.randint(0, 256, (9, 3, 20, 20), dtype=torch.uint8))
    net, how = small(), Encoding(device="cpu", cache=tmp_path)
    features = load(
        x.data.permute(0, 2, 3, 1).numpy(), [0, 1, 2] * 3, options=ReadOptions(encoder="efficientnet-lite0")
    )
    encoder = tuned.Tuned(features.encoder, net, SIDE)
    rows = encoder.encode(x, how)
    assert isinstance(rows, BesideRows)
    assert rows.shape == (1904 + 3,)
    seen = torch.nn.functional.interpolate(x.data.float() / 255, (SIDE, SIDE), mode="bilinear", antialias=True)
    with torch.no_grad():
        expected = torch.log_softmax(net((seen - 127 / 255) / (128 / 255)), 1)
    ids = torch.arange(9)
    assert torch.allclose(rows[ids][:, 1904:], expected, atol=1e-4)
    assert torch.equal(rows[ids][:, :1904], encoder.features.encode(x, how)[ids])

    header, tensors = encode.save(encoder)
    again = encode.restore(json.loads(json.dumps(header)), {name: value.clone() for name, value in tensors.items()})
    assert torch.equal(again.encode(x, how)[ids], rows[ids])
    with pytest.raises(KeyError):
        encode.restore(header, {name: value for name, value in tensors.items() if not name.endswith("head.bias")})
    kept = len(list(tmp_path.iterdir()))
    with torch.no_grad():
        net.head.bias[0] += 1
    other = tuned.Tuned(features.encoder, net, SIDE).encode(x, how)
    assert not torch.allclose(other[ids], rows[ids], atol=1e-3)  # other weights, other features in the cache
    assert len(list(tmp_path.iterdir())) == kept + 1


def test_nobody_asks_for_it_by_name():
    x = np.zeros((4, 32, 32, 3), np.uint8)
    assert tuned.NAME not in encode.names()
    with pytest.raises(InputError, match="leave encoder out, and give a budget"):
        load(x, [0, 1] * 2, options=ReadOptions(encoder=tuned.NAME))


def coloured(count=60):
    """Red and blue photos of 16 pixels, and their labels, of which some are wrong."""
    random = np.random.default_rng(0)
    labels = np.array(["blue", "red"])[np.arange(count) % 2]
    x = random.integers(0, 120, (count, 16, 16, 3))
    x[np.arange(count), :, :, np.where(labels == "red", 0, 2)] += 120
    given = labels.copy()
    given[:6] = np.where(given[:6] == "red", "blue", "red")
    return x.astype(np.uint8), given


@pytest.fixture
def counts(monkeypatch):
    """Few photos are enough, few epochs, and the network counts for a half."""
    monkeypatch.setattr(tuning, "FEWEST", 20)
    monkeypatch.setattr(tuning, "EPOCHS", 3)
    monkeypatch.setattr(tuning, "weighed", lambda *_: tuning.Weighed(0.5, 0.2, 0.01, (0.8, 0.9)))


def test_a_budget_goes_on_to_the_network_and_the_run_holds_it(counts, tmp_path, monkeypatch):
    monkeypatch.setenv("CODIVIDE_CACHE", str(tmp_path / "cache"))
    x, y = coloured()
    clf = NoisyLabelClassifier(budget="10m", out=tmp_path / "run").fit(x, y)
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    told = summary["learned"]["tuned"]
    assert told["share"] == 0.5
    assert told["hidden"] == 12
    assert summary["encoder"] == tuned.NAME
    assert clf.model_.tuned == 0.5
    assert clf.model_.shape == (1904 + 2,)
    assert clf.history_[-1]["round"] == "fine-tuned"
    assert told["said"] in clf.choice_["decision"]["reasons"]
    probs = clf.predict_proba(x[:9])
    assert np.allclose(load_model(tmp_path / "run").probs(x[:9]), probs, atol=1e-6)
    assert np.allclose(probs.sum(1), 1)
    assert np.allclose(pickle.loads(pickle.dumps(clf)).predict_proba(x[:9]), probs, atol=1e-6)
    again = NoisyLabelClassifier(budget="10m", out=tmp_path / "run", resume=True).fit(x, y)
    assert np.allclose(again.predict_proba(x[:9]), probs, atol=1e-6)


def test_without_a_budget_heads_are_all(counts, tmp_path, monkeypatch):
    monkeypatch.setenv("CODIVIDE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    x, y = coloured()
    clf = NoisyLabelClassifier(out=tmp_path / "run").fit(x, y)
    assert "tuned" not in json.loads((tmp_path / "run" / "summary.json").read_text())["learned"]
    assert clf.model_.shape == (1904,)


def test_a_folder_of_photos_is_tuned_predicted_and_audited(counts, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("CODIVIDE_CACHE", str(tmp_path / "cache"))
    for k, (pixels, label) in enumerate(zip(*coloured(), strict=True)):
        path = tmp_path / "photos" / label / f"{k}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)
    run = tmp_path / "run"

    def command(*words):
        monkeypatch.setattr("sys.argv", ["codivide", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            main()
        assert ended.value.code in (0, None)
        return capsys.readouterr()

    shown = command("fit", tmp_path / "photos", "--test", tmp_path / "photos", "--budget", "10m", "--out", run)
    assert "the fine-tuned network counts" in shown.err
    saved = load_model(run)
    assert saved.tuned == 0.5
    written = command("clean", run, "--out", tmp_path / "cleaned").out.splitlines()
    (again,) = [shlex.split(line) for line in written if line.startswith("train again: ")]
    assert again[5:] == ["--budget", "600s", "--out", "run2"]
    found = from_run(run)
    assert found.rows.shape == (3, 16, 16)  # pictures are shown
    assert found.points.shape[0] == 60, found.remarks
    command("predict", run, tmp_path / "photos", "--out", tmp_path / "said.csv")
    told = pd.read_csv(tmp_path / "said.csv")
    assert len(told) == 60
    names = sorted((tmp_path / "photos").rglob("*.png"))
    pixels = np.stack([np.asarray(Image.open(name)) for name in names])
    likeliest = dict(zip([name.name for name in names], saved.probs(pixels).max(1), strict=True))
    assert all(abs(row.probability - likeliest[Path(row.path).name]) < 1e-4 for row in told.itertuples())


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({}, "--budget 20m"),
        ({"samples": 50_000}, "--budget 170m"),
        ({"samples": 500}, "--budget 10m"),
        ({"samples": 499}, None),
        ({"encoder": "efficientnet-lite0+pixels"}, None),
        ({"learned": {"tuned": {}}}, None),
        ({"verdict": TOO_LITTLE}, None),
    ],
)
def test_a_budget_is_proposed_where_it_has_not_been_tried(changed, said):
    summary = {
        "samples": 5_000,
        "unlabelled": 0,
        "encoder": "efficientnet-lite0",
        "choice": {},
        "learned": {},
    } | changed
    assert output.tuning_budget(summary) == (said and said.removeprefix("--budget "))


@pytest.mark.parametrize(
    ("place", "name", "error"),
    [
        (loop, "train", torch.OutOfMemoryError("CUDA out of memory")),
        (tuning.Tuner, "_seconds", RuntimeError("DefaultCPUAllocator: can't allocate memory")),
    ],
)
def test_a_network_that_cannot_be_trained_loses_nothing(place, name, error, counts, tmp_path, monkeypatch, capsys):
    def full(*_, **__):
        raise error

    monkeypatch.setenv("CODIVIDE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(place, name, full)
    x, y = coloured()
    clf = NoisyLabelClassifier(budget="10m", verbose=1).fit(x, y)
    assert clf.model_.tuned == 0
    assert clf.history_[-1]["round"] != "fine-tuned"
    assert f"cannot be trained further, and the heads stay: {error}" in capsys.readouterr().err


def test_a_stop_says_that_nothing_is_kept(counts, tmp_path, monkeypatch, capsys):
    def stopped(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setenv("CODIVIDE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(loop, "train", stopped)
    x, y = coloured()
    np.savez(tmp_path / "photos.npz", x=x, y=y)
    words = ["fit", str(tmp_path / "photos.npz"), "--budget", "10m", "--out", str(tmp_path / "run")]
    monkeypatch.setattr("sys.argv", ["codivide", *words])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 130
    assert "nothing is kept yet, and the same command begins anew" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_an_error_of_the_program_is_not_hidden(counts, tmp_path, monkeypatch):
    def wrong(*_, **__):
        raise RuntimeError("shapes differ")

    monkeypatch.setenv("CODIVIDE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(loop, "train", wrong)
    with pytest.raises(RuntimeError, match="shapes differ"):
        NoisyLabelClassifier(budget="10m").fit(*coloured())


def test_nothing_is_trained_where_no_label_can_be_hidden(counts, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("CODIVIDE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(loop, "train", lambda *_, **__: pytest.fail("it was trained"))
    x, y = coloured()
    clf = NoisyLabelClassifier(budget="10m", verbose=1).fit(x, y, groups=np.arange(60) // 15)
    assert clf.model_.tuned == 0
    assert "too few labels, or of one class alone, can be hidden" in capsys.readouterr().err


def test_labels_that_do_not_count_are_not_hidden(counts, tmp_path, monkeypatch):
    monkeypatch.setenv("CODIVIDE_CACHE", str(tmp_path / "cache"))
    weight = np.r_[np.zeros(30), np.linspace(1, 2, 30)]
    told = []

    def seen(probs, said, given, weight):
        told.append(weight)
        return tuning.Weighed(0.0, 0.0, 0.0, (0.8, 0.8))

    monkeypatch.setattr(tuning, "weighed", seen)
    NoisyLabelClassifier(budget="10m").fit(*coloured(), sample_weight=weight)
    assert len(told[0]) == 6
    assert (told[0] > 0).all()


def test_the_epochs_that_were_done_are_recorded(counts, tmp_path, monkeypatch):
    monkeypatch.setenv("CODIVIDE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(Budget, "ends", lambda _: 0.0)
    NoisyLabelClassifier(budget="10m", out=tmp_path / "run").fit(*coloured())
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["learned"]["tuned"]["epochs"] == 1


def test_too_little_time_is_said_and_changes_nothing(counts, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("CODIVIDE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(tuning.Tuner, "_seconds", lambda *_: 1e6)
    x, y = coloured()
    clf = NoisyLabelClassifier(budget="10m", verbose=1).fit(x, y)
    assert clf.model_.tuned == 0
    assert "no time is left to train the encoder's network further" in capsys.readouterr().err
