"""A network and views of the user's own."""

import hashlib
import json
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.ensemble import HistGradientBoostingClassifier
from torch import nn

from codivide import NoisyLabelClassifier, Plan, load_model
from codivide.audit.material import from_run
from codivide.cli.app import main
from codivide.cli.predict import predict
from codivide.core.errors import InputError
from codivide.core.own_files import _module
from codivide.data.sources import load
from codivide.fit.choose_run import execute
from codivide.fit.job import Job, build_method
from codivide.runs.claim import claimed
from codivide.training.own_net import OwnNet, as_net, code_of

Y = np.array(["red", "blue"] * 20)


def photos():
    x = np.random.default_rng(0).integers(0, 120, (40, 12, 12, 3))
    x[::2, ..., 0] += 100
    x[1::2, ..., 2] += 100
    return x.astype(np.uint8)


class Small(nn.Module):
    def __init__(self, classes, width=8):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, width, 3), nn.BatchNorm2d(width), nn.ReLU(), nn.AdaptiveAvgPool2d(1))
        self.out = nn.Linear(width, classes)

    def forward(self, x):
        return self.out(self.body(x).flatten(1))


def make(classes):
    return Small(classes)


def fitted(net, tmp_path=None, method="cross_entropy", **more):
    out = None if tmp_path is None else tmp_path / "run"
    known = {"epochs": 6, "lr": 0.1, "batch_size": 8, **more}
    return clone(NoisyLabelClassifier(method, net=net, out=out, **known)).fit(photos(), Y)


@pytest.mark.parametrize("method", ["cross_entropy", "dividemix", "elr", "codivide"])
def test_a_function_makes_the_networks(method):
    found = fitted(make, method=method)
    assert all(isinstance(member, Small) for member in found.model_.members)
    assert found.model_.net == "own:make"
    if method == "cross_entropy":
        assert (found.predict(photos()) == Y).mean() > 0.9


def test_a_class_and_a_part_of_a_function_are_functions_too():
    assert fitted(Small).model_.net == "own:Small"
    assert fitted(partial(Small, width=4), epochs=1).model_.members[0].out.in_features == 4


def test_rows_of_a_table():
    x = np.random.default_rng(0).normal(size=(60, 5)).astype(np.float32)
    y = (x[:, 0] > 0).astype(int)
    net = partial(nn.Linear, 5)
    found = NoisyLabelClassifier("cross_entropy", net=net, epochs=20, lr=0.3).fit(x, y)
    assert (found.predict(x) == y).mean() > 0.9


def test_auto_takes_the_network_and_no_features():
    x = np.random.default_rng(0).integers(0, 256, (60, 32, 32, 3), dtype=np.uint8)
    found = NoisyLabelClassifier(net=make, epochs=2).fit(x, np.arange(60) % 2)
    assert found.model_.net == "own:make"
    assert found.model_.encoder is None


def test_a_saved_run_takes_the_function_again(tmp_path):
    found = fitted(make, tmp_path)
    path = tmp_path / "run" / "model.safetensors"
    assert json.loads((tmp_path / "run" / "config.json").read_text())["net"] == "own:make"
    with pytest.raises(InputError, match=r"function of your own \(own:make\).*net=\.\.\."):
        load_model(path)
    x = torch.from_numpy(photos()).permute(0, 3, 1, 2)
    np.testing.assert_allclose(load_model(str(path), net=make).probs(x), found.predict_proba(photos()), atol=1e-5)
    with pytest.raises(InputError, match="makes another network than that of the file"):
        load_model(path, net=partial(Small, width=4))
    with pytest.raises(InputError, match="function of your own"):
        predict(tmp_path / "run", [str(tmp_path)], device="cpu")
    assert from_run(tmp_path / "run").table.shape[0] == 40  # the audit needs no network


def test_a_named_network_needs_no_function(tmp_path):
    fitted("small_cnn", tmp_path, epochs=1)
    with pytest.raises(InputError, match="'small_cnn', which is known: leave net out"):
        load_model(tmp_path / "run" / "model.safetensors", net=make)


def test_a_finished_run_is_read_with_its_function(tmp_path):
    job = Job(build_method("cross_entropy"), Plan(epochs=1, device="cpu"), OwnNet(make))
    loaded = load(photos(), Y)
    with claimed(tmp_path / "run"):
        execute(job, loaded, tmp_path / "run")
    again = execute(job, loaded, tmp_path / "run", resume=True)
    assert isinstance(again.model.members[0], Small)


@pytest.mark.parametrize(
    ("net", "message"),
    [
        (Small(2), "net is a module .*lambda classes"),
        (HistGradientBoostingClassifier(), r"pass it as model="),
        (3, "give a name, or a function"),
        (lambda: Small(2), "cannot be made of the number of classes, 2"),
        (lambda classes: np.zeros(classes), "gives a ndarray"),
        (lambda classes: nn.Flatten(), "no weight that can be trained"),
        (lambda classes: Small(classes + 1), r"gives \(2, 3\) for 2 samples; logits \(2, 2\)"),
        (lambda classes: nn.Sequential(Small(classes), nn.Softmax(1)), "leave its softmax out"),
        (lambda classes: nn.Linear(7, classes), r"cannot take a batch of shape \(2, 3, 12, 12\)"),
        ("own:make", "give it as FILE.py:NAME"),
    ],
)
def test_what_is_refused_before_anything_is_written(net, message, tmp_path):
    with pytest.raises(InputError, match=message):
        NoisyLabelClassifier("cross_entropy", net=net, out=tmp_path / "run", epochs=1).fit(photos(), Y)
    assert not (tmp_path / "run").exists()


def test_dropout_is_for_named_networks():
    with pytest.raises(InputError, match="leave dropout out"):
        fitted(make, dropout=0.1)


def test_views_of_ones_own(tmp_path):
    seen = {"weak": 0, "strong": 0}

    def weak(x, generator):
        assert x.dtype == torch.uint8
        seen["weak"] += 1
        return x.flip(3) if torch.rand((), generator=generator) < 0.5 else x

    def strong(x, generator):
        seen["strong"] += 1
        return 255 - x

    fitted("small_cnn", tmp_path, augment={"weak": weak, "strong": strong}, method="fixmatch", epochs=1)
    assert seen["strong"] > 1
    assert seen["weak"] > 1
    assert (
        json.loads((tmp_path / "run" / "config.json").read_text())["augment"]
        == "own:test_views_of_ones_own.<locals>.weak"
    )
    before = dict(seen)
    x = torch.from_numpy(photos()).permute(0, 3, 1, 2)
    assert load_model(tmp_path / "run" / "model.safetensors").probs(x).shape == (40, 2)
    assert seen == before


@pytest.mark.parametrize(
    ("augment", "message"),
    [
        (3, "give a name, a function"),
        ({"plain": lambda x, generator: x}, "'weak' and 'strong'"),
        (lambda x: x, r"transform of torchvision"),
        (lambda x, generator: x.float(), "shape and type must stay"),
        (lambda x, generator: x[:, :, :8], "shape and type must stay"),
    ],
)
def test_views_that_are_refused(augment, message):
    with pytest.raises(InputError, match=message):
        fitted("small_cnn", augment=augment)


def test_networks_that_are_one_module_are_refused():
    module = Small(2)
    with pytest.raises(InputError, match="gives the same module again"):
        fitted(lambda classes: module, method="co_teaching", epochs=1)


IN_A_FILE = """
from functools import partial

from torch import nn

WIDTH = 8


class Rows(nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(64, WIDTH), nn.ReLU(), nn.Linear(WIDTH, classes))

    def forward(self, x):
        return self.layers(x)


def tiny(classes):
    return Rows(classes)


part = partial(nn.Linear, 64)
"""


@pytest.fixture
def file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "nets_of_mine.py"
    path.write_text(IN_A_FILE)
    _module.cache_clear()
    return path


def command(monkeypatch, capsys, *words):
    monkeypatch.setattr(sys, "argv", ["codivide", *words])
    with pytest.raises(SystemExit) as ended:
        main()
    _module.cache_clear()  # as the next command finds it
    return ended.value.code, capsys.readouterr()


@pytest.mark.parametrize("word", ["tiny", "Rows", "part"])
def test_a_name_in_a_file_is_a_network(file, word):
    net = as_net(f"{file.name}:{word}")
    assert net.name == f"own:{file.name}:{word}"
    assert as_net(net.file).build(3)(torch.zeros(2, 64)).shape == (2, 3)  # as another process of torchrun makes it
    assert code_of(net) == {"net_code": hashlib.sha256(file.read_bytes()).hexdigest()[:16]}
    assert code_of("mlp") == code_of(OwnNet(make)) == {}


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("nets_of_mine.py:tyni", "has no 'tyni'. Did you mean 'tiny'[?] It has Rows, tiny"),
        ("nets_of_mine.py:WIDTH", "net 8: give a name, or a function"),
        ("nets_of_mine.py", "one of your own is FILE.py:NAME, such as nets_of_mine.py:make"),
        ("none.py:tiny", r"there is no file .*none\.py'; a network of your own is named FILE.py:NAME"),
    ],
)
def test_a_name_in_a_file_that_is_no_network(file, name, said):
    with pytest.raises(InputError, match=said):
        as_net(name)


def test_a_network_in_a_file_on_the_command_line(file, monkeypatch, capsys):
    np.savez("mine.npz", x=np.random.default_rng(0).normal(size=(40, 64)).astype(np.float32), y=np.arange(40) % 2)
    about = ["fit", "mine.npz", "--method", "cross_entropy", "--net", f"{file.name}:tiny", "--epochs", "1"]
    about += ["--out", "run"]
    assert command(monkeypatch, capsys, *about)[0] in (0, 3)
    assert json.loads(Path("run/config.json").read_text())["net"] == "own:nets_of_mine.py:tiny"
    assert command(monkeypatch, capsys, *about, "--resume")[0] in (0, 3)
    code, said = command(monkeypatch, capsys, "predict", "run", "mine.npz")
    assert (code, "--net FILE.py:NAME takes it again" in said.err) == (2, True)
    asked = ["predict", "run", "mine.npz", "--net", f"{file.name}:tiny"]
    code, said = command(monkeypatch, capsys, *asked)
    assert (code, len(said.out.splitlines()), "edited" in said.err) == (0, 41, False)
    file.write_text(IN_A_FILE + "# edited")
    code, said = command(monkeypatch, capsys, *asked)
    assert (code, "own:nets_of_mine.py:tiny was edited since" in said.err) == (0, True)
    code, said = command(monkeypatch, capsys, *about, "--resume")
    assert (code, "belongs to another run: they differ in net_code" in said.err) == (2, True)
