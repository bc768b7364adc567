"""A method in a file of the user's own, by the name ``FILE.py:CLASS``."""

import json
import sys

import pytest

from codivide import NoisyLabelClassifier
from codivide.cli.app import main
from codivide.core.errors import InputError
from codivide.fit.job import build_method, name_of
from codivide.fit.own_method import built_by, method_class
from codivide.methods import METHODS

FOCAL = '''
from __future__ import annotations
from dataclasses import dataclass
import torch
from codivide import Batch, Method, Run
from weights_beside import weight

@dataclass
class Focal(Method):
    """Focal loss.

    Attributes:
        gamma: how fast the weight falls.
    """

    gamma: float = 2.0

    def loss(self, run: Run, i: int, batch: Batch) -> torch.Tensor:
        losses = run.observe(batch, run.logits(i, batch.x[0]))
        return (weight(losses, self.gamma) * losses).mean()

class Forgot(Method):
    gamma: float = 2.0

class Other:
    pass
'''


@pytest.fixture
def file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    name = tmp_path.name.replace("-", "_")  # a module of its own in every test
    (tmp_path / "weights_beside.py").write_text("def weight(x, gamma): return (1 - (-x).exp()) ** gamma\n")
    path = tmp_path / f"{name}.py"
    path.write_text(FOCAL)
    return path.name


def test_a_class_in_a_file_is_a_method(file):
    method = build_method(f"{file}:Focal", gamma=1.0)
    assert (name_of(method), method.gamma) == ("Focal", 1.0)
    assert type(method) is method_class(f"{file}:Focal")  # the same class each time
    assert type(build_method(built_by(method), gamma=1.0)) is type(method)  # as another process of torchrun makes it
    assert built_by(METHODS["elr"]()) == "elr"
    with pytest.raises(InputError, match="Did you mean 'gamma'"):
        build_method(f"{file}:Focal", gama=1)


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("Fokal", "has no class 'Fokal'. Did you mean 'Focal'[?] Its methods are Focal"),
        ("Forgot", "put @dataclass above it"),
        ("Other", "derive the class from codivide.Method"),
        ("Method", "has no class 'Method'"),  # what it imports is not its own
    ],
)
def test_a_class_that_is_no_method(file, word, said):
    with pytest.raises(InputError, match=said):
        method_class(f"{file}:{word}")


def test_files_that_cannot_be_read(file, tmp_path):
    with pytest.raises(InputError, match=r"there is no file .*none\.py"):
        method_class("none.py:Focal")
    with pytest.raises(InputError, match=rf"one of your own is FILE.py:CLASS, such as {file}:"):
        method_class(file)
    (tmp_path / "broken_method.py").write_text("import nothing_such\n")
    before = list(sys.path)
    with pytest.raises(InputError, match=r"broken_method\.py cannot be run: ModuleNotFoundError"):
        method_class("broken_method.py:Focal")
    assert sys.path == before
    (tmp_path / "script.py").write_text("import sys\nsys.exit(3)\n")
    with pytest.raises(InputError, match=r"script\.py ends Python .* under if __name__"):
        method_class("script.py:Focal")
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / file).write_text(FOCAL)
    assert method_class(f"sub/{file}:Focal") is not method_class(f"{file}:Focal")


def test_on_the_command_line(file, tmp_path, monkeypatch, capsys):
    def call(*words):
        monkeypatch.setattr(sys, "argv", ["codivide", *words])
        with pytest.raises(SystemExit) as ended:
            main()
        return ended.value.code, capsys.readouterr().out

    code, said = call("methods", f"{file}:Focal")
    assert (code, "--gamma" in said, "how fast the weight falls" in said, "()" in said) == (0, True, True, False)
    about = ["fit", "digits", "--limit", "60", "--method", f"{file}:Focal", "--net", "mlp", "--out", "run"]
    code, _ = call(*about, "--gamma", "1", "--epochs", "1")
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert (code in (0, 3), config["method"], config["hyper_parameters"]) == (True, "Focal", {"gamma": 1.0})
    code, _ = call(*about, "--gamma", "1", "--epochs", "1", "--resume")
    assert code in (0, 3)
    assert call(*about, "--gamma", "3", "--epochs", "1", "--resume")[0] == 2  # another setting is another run


def test_the_estimator_takes_the_name(file):
    x = [[float(i % 2), 1.0] for i in range(40)]
    found = NoisyLabelClassifier(f"{file}:Focal", epochs=1).fit(x, [i % 2 for i in range(40)])
    assert found.labels_.shape[0] == 40
