"""The command line as a whole: its table of commands, flags made from dataclasses, and what every command shares."""

import inspect
import io
import json
import re
import subprocess
import sys
from dataclasses import dataclass, fields
from importlib import import_module
from pathlib import Path
from typing import Annotated

import numpy as np
import pandas as pd
import pytest
import typer
from typer.main import get_command
from typer.testing import CliRunner

import codivide
from codivide import Features, InputError, NoisyLabelClassifier, Plan
from codivide.cli import app as command_line
from codivide.cli import early, output
from codivide.cli.fit import fit
from codivide.cli.flags import spread
from codivide.cli.method_flags import _possible_flags, hyper_flags, method_flags
from codivide.core.errors import option, speaking_flags
from codivide.data import encode, named, pretrained
from codivide.data.sources import load
from codivide.fit import choose_run, estimator
from codivide.fit.job import build_method
from codivide.methods import METHODS
from codivide.methods.features.options import NOT_FOR_FEATURES, refuse
from codivide.training import nets
from codivide.training.plan import ASKED, NOT_ASKED

# of each option of a fit that says how a network is trained, a value that somebody has chosen
CHOSEN = {
    "epochs": 3, "batch_size": 8, "optimizer": "adamw", "lr": 0.5, "weight_decay": 0.1, "schedule": "cosine",
    "milestones": (1, 2), "momentum": 0.5, "average": 0.9, "freeze": 1, "sub_epoch": 60, "precision": "fp32",
    "compile": True, "dropout": 0.1, "net": "mlp", "augment": "none", "evaluate_every": 2,
}  # fmt: skip
ELSEWHERE = {"seed": "random_state"}  # what scikit-learn calls a field of the plan
NOT_OF_THE_ESTIMATOR = {"evaluate_every"}  # the estimator is given no test part


def call(*words, expect=0):
    """The command line in this process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["codivide", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            command_line.main()
    assert (ended.value.code or 0) == expect


def flag(name, value):
    word = "--" + name.replace("_", "-")
    text = ",".join(map(str, value)) if isinstance(value, tuple) else value
    return [word] if value is True else [word, text]


def table(folder, classes=("ant", "bee"), count=60):
    rng = np.random.default_rng(0)
    truth = np.arange(count) % 2
    frame = pd.DataFrame(rng.normal(size=(count, 3)) + 4 * truth[:, None], columns=list("xyz"))
    given = np.where(np.arange(count) % 10 == 9, 1 - truth, truth)
    frame.assign(label=np.array(classes)[given]).to_csv(folder / "rows.csv", index=False)
    return folder / "rows.csv"


def quick_fit(source, out):
    call("fit", source, "--method", "features", "--heads", "linear", "--folds", 2, "--no-correct", "--out", out)


# --- the table of commands


def test_every_command_of_the_table_is_there_and_in_the_help(capsys):
    call("--help")
    shown = capsys.readouterr().out
    for name, file in command_line.COMMANDS.items():
        assert name in shown
        found = getattr(import_module(f"codivide.cli.{file}"), name)
        assert isinstance(found, typer.Typer) or found.__doc__


@pytest.mark.parametrize("words", [["audit", "run"], ["bench", "list"], ["fit", "--help"]])
def test_one_command_alone_is_made_where_it_is_asked_for(words):
    made = get_command(command_line.application(words))
    assert list(made.commands) == words[:1]


@pytest.mark.parametrize("words", [[], ["--help"], ["nosuch"], ["--help", "fit"]])
def test_all_commands_are_made_where_none_is_asked_for(words):
    assert list(get_command(command_line.application(words)).commands) == list(command_line.COMMANDS)


def test_help_early_errors_and_lists_need_neither_torch_nor_numpy(tmp_path):
    code = """if True:
        import sys
        from codivide.cli import app
        for words in (
            [["--help"], ["fit", "--help"], ["fit"], ["fit", "no.xlsx", "--out", "run"], ["audit", "--nosuch"]]
            + [["fit", "digits", "--out", "run", "--method", "elr", "--nosuch", "3"]]
            + [["fit", "nosuch", "--out", "run"], ["fit", "digits", "--out", "run", "--test", "nosuch"]]
            + [["fit", "digits", "--out", "run", flag, "nosuch"] for flag in ("--method", "--net", "--encoder")]
            + [["noise", "nosuch"]]
            + [[command, "none"] for command in ("audit", "clean", "serve", "plot")]
            + [["predict", "none", "x.csv"], ["predict", ".", "x.csv"], ["noise", "x.csv"], ["bench", "list"]]
        ):
            sys.argv = ["codivide", *words]
            try:
                app.main()
            except SystemExit:
                loaded = [name for name in ("torch", "numpy", "pandas", "matplotlib") if name in sys.modules]
                print("after", words[0], loaded)
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path)
    said = [line for line in done.stdout.splitlines() if line.startswith("after")]
    assert said == ["after --help []", *["after fit []"] * 3, "after audit []", *["after fit []"] * 6] + [
        "after noise []"
    ] + [
        f"after {command} []" for command in ("audit", "clean", "serve", "plot", "predict", "predict", "noise", "bench")
    ]
    assert done.stderr.count("error: there is no f") == 8 + 3
    assert done.stderr.count("error: unknown ") == 3


@pytest.mark.parametrize("name", METHODS)
def test_settings_of_a_method_are_told_in_words_that_can_be_typed(name):
    for item in hyper_flags(METHODS[name], "panel"):
        told = item.annotation.__metadata__[0]
        assert told.show_default not in ("None", "True", "False"), item.name
        assert "None: " not in told.help, item.name
        assert "AUTOMATIC" not in told.help, item.name


def test_every_flag_of_a_method_is_looked_for():
    """A flag that no method has is refused before torch is loaded; so none of a method may be taken for one."""
    flags = {flag.name.replace("_", "-") for cls in METHODS.values() for flag in hyper_flags(cls, "")}
    assert flags <= _possible_flags()
    assert "nosuch" not in _possible_flags()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["fit"], "error: Missing argument 'source'; codivide fit --help shows what there is\n"),
        (["nosuch"], "error: No such command 'nosuch'; codivide --help shows what there is\n"),
        (["fit", "a/b.csv", "--out", "run"], "error: there is no file or folder 'a/b.csv'\n"),
        (["fit", "digits", "--test", "b.csv", "--out", "run"], "error: there is no file or folder 'b.csv'\n"),
        (["bench", "run", "first/gce", "--limit", "1"], "codivide bench run --help shows what there is\n"),
    ],
)
def test_errors_have_one_form(words, said, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    call(*words, expect=2)
    shown = capsys.readouterr().err
    assert shown.startswith("error: ")
    assert shown.endswith(said)
    assert shown.count("\n") == 1


def test_without_a_command_the_help_is_shown(capsys):
    call(expect=2)
    shown = capsys.readouterr()
    assert "Usage: codivide" in shown.out
    assert not shown.err


def commands():
    """Every command, those of bench too."""
    own = [[name] for name in command_line.COMMANDS if name != "bench"]
    return own + [["bench", name] for name in ("list", "run", "table", "gather", "tune")]


def test_the_help_of_gather_says_what_is_read_written_and_removed(capsys):
    call("bench", "gather", "--help")
    shown = capsys.readouterr().out
    for said in ("Reads every JSON file below --results", "Writes gathered.parquet", "Removes the JSON files"):
        assert said in shown


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_the_help_of_a_command_has_an_example_and_plain_words(words, capsys):
    call(*words, "--help")
    shown = capsys.readouterr().out
    assert f"Example: codivide {' '.join(words)}" in shown
    assert "``" not in shown
    assert ":class:" not in shown
    assert "<bool>" not in shown  # a switch takes no value
    assert "[default: (" not in shown  # in words or not, a default has one form


def test_the_help_says_that_an_audit_shows_texts_and_learns_nothing(capsys):
    call("audit", "--help")
    shown = " ".join(capsys.readouterr().out.split())
    assert "learn" not in shown
    assert "texts, which" in shown
    call("noise", "--help")
    assert "learned from" in " ".join(capsys.readouterr().out.split())


def test_settings_of_a_method_are_in_the_help_where_one_is_named(capsys):
    call("fit", "--method", "elr", "--help")
    assert "Hyper-parameters of elr" in capsys.readouterr().out


def test_version(capsys):
    call("--version")
    assert capsys.readouterr().out.startswith("codivide ")


# --- the plan: flags, parameters and refusals


def test_every_field_of_the_plan_is_a_flag_and_a_parameter_or_stands_among_those_not_asked_for():
    flags = set(inspect.signature(spread(fit)).parameters)
    parameters = set(inspect.signature(NoisyLabelClassifier).parameters)
    names = [item.name for item in fields(Plan)]
    assert NOT_ASKED.keys() <= set(names)
    for name in names:
        asked = name not in NOT_ASKED
        assert (name in flags) == asked, name
        assert (ELSEWHERE.get(name, name) in parameters) == asked, name
        assert asked or NOT_ASKED[name]  # the reason


def test_the_route_for_features_refuses_what_it_has_not():
    assert set(NOT_FOR_FEATURES) == {*ASKED, "dropout", "net", "augment", "evaluate_every"} - {"device", "seed"}
    assert set(NOT_FOR_FEATURES) == CHOSEN.keys()
    for name, value in CHOSEN.items():
        with pytest.raises(InputError, match=f"^{name} = "):
            refuse({name: value})


@pytest.mark.parametrize("name", CHOSEN)
def test_command_line_and_estimator_refuse_them_for_features(name, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    call("fit", "digits", "--method", "features", *flag(name, CHOSEN[name]), "--out", "run", expect=2)
    assert f"{name} = {CHOSEN[name]}" in capsys.readouterr().err
    if name not in NOT_OF_THE_ESTIMATOR:
        x, y = np.eye(6, 3), [0, 1] * 3
        with pytest.raises(InputError, match=f"^{name} = "):
            NoisyLabelClassifier(Features(), **{name: CHOSEN[name]}).fit(x, y)


def test_milestones_that_cannot_be_meant_are_refused(tmp_path, capsys):
    source, x, y = table(tmp_path), np.eye(6, 3), [0, 1] * 3
    words = ("fit", source, "--method", "gce", "--out", tmp_path / "run", "--milestones")
    call(*words, "80;120", expect=2)
    assert "--milestones 80;120: give epochs with commas, such as 80,120" in capsys.readouterr().err
    call(*words, "3", "--schedule", "constant", expect=2)
    assert "milestones do not apply to the schedule constant" in capsys.readouterr().err
    for bad in ((0, 3), (1.5,)):
        with pytest.raises(InputError, match="a whole number of epochs from 1 on"):
            NoisyLabelClassifier("gce", milestones=bad).fit(x, y)
    NoisyLabelClassifier("gce", epochs=2, milestones=[1], momentum=0).fit(x, y)


class Stop(Exception):
    """Raised in the place of training."""


@pytest.mark.parametrize("name", [*CHOSEN, "device", "seed"])
def test_what_is_asked_for_reaches_the_job(name, tmp_path, monkeypatch):
    value = {**CHOSEN, "device": "cpu", "seed": 7}[name]
    jobs = []

    def stop(job, loaded, out, *, free, **_):
        jobs.append((job, loaded, free))
        raise Stop

    monkeypatch.setattr(choose_run, "execute", stop)
    monkeypatch.setattr(estimator, "execute", stop)
    with pytest.raises(Stop):
        call("fit", table(tmp_path), "--method", "elr", *flag(name, value), "--out", tmp_path / "run")
    if name not in NOT_OF_THE_ESTIMATOR:
        with pytest.raises(Stop):
            NoisyLabelClassifier("elr", **{ELSEWHERE.get(name, name): value}).fit(np.eye(6, 3), [0, 1] * 3)
    for job, loaded, free in jobs:
        held = loaded if name == "augment" else job.plan if name in ASKED else job
        assert getattr(held, name) == value
        assert name not in free
        assert {*free, name} >= set(NOT_FOR_FEATURES)  # everything else may still be chosen


# --- flags from dataclasses


@dataclass(frozen=True, kw_only=True)
class Paint:
    colour: Annotated[str, typer.Option(help="Of the wall.")] = "white"
    coats: Annotated[int, typer.Option(min=1)] = 2
    matt: Annotated[bool, typer.Option("--matt")] = False


def test_a_dataclass_is_spread_into_flags_and_comes_back_whole():
    seen = []

    def paint(wall: Annotated[str, typer.Argument()], how: Paint, **more: int) -> None:
        """Paint a wall."""
        seen.append((wall, how, more))

    extra = inspect.Parameter(
        "hours", inspect.Parameter.KEYWORD_ONLY, default=1, annotation=Annotated[int, typer.Option()]
    )
    app = typer.Typer()
    app.command()(spread(paint, [extra]))
    result = CliRunner().invoke(app, ["north", "--coats", "3", "--matt", "--hours", "5"])
    assert result.exit_code == 0, result.output
    assert seen == [("north", Paint(coats=3, matt=True), {"hours": 5})]
    assert CliRunner().invoke(app, ["north", "--coats", "0"]).exit_code == 2


# --- what every command shares


def test_every_command_keeps_freed_memory(monkeypatch, capsys):
    tuned = []
    monkeypatch.setattr(command_line, "tune_allocator", lambda: tuned.append(True))
    call("predict", "nowhere", "x.png", expect=2)
    call("noise", "nowhere", expect=2)
    assert len(tuned) == 2


def test_names_that_the_terminal_cannot_show_are_escaped(tmp_path, monkeypatch):
    source = table(tmp_path, classes=("kırmızı", "yeşil"))
    held = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(held, encoding="ascii"))
    call("noise", source, "symmetric:0.2")
    sys.stdout.flush()
    assert rb"k\u0131rm" in held.getvalue()


def test_brackets_in_paths_are_brackets(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    source = table(tmp_path)
    name = "[red]run[/]"
    quick_fit(source, name)
    call("audit", name)
    call("predict", name, source, "--out", f"{name}.csv")
    Path(f"clean {name}").parent.mkdir(exist_ok=True)  # a slash between brackets ends the name of a folder
    call("clean", name, "--out", f"clean {name}")
    call("plot", name, "--out", f"{name} pictures")
    printed = capsys.readouterr()
    for line in (f"{name}/labels.csv", f"{name}/report.html", f"clean {name}/labels_clean.csv", f"{name} pictures/"):
        assert line in printed.out
    assert f"predictions: {name}.csv" in printed.err
    call("audit", "none[/]", expect=2)
    assert "none[/]" in capsys.readouterr().err


def test_an_interrupt_while_something_is_imported_shows_no_traceback(monkeypatch, capsys):
    def interrupted(arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(command_line, "application", interrupted)
    call("fit", "digits", "--out", "run", expect=130)
    assert capsys.readouterr().err == "stopped\n"


def test_the_record_of_a_run_is_json_with_types(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    quick_fit(table(tmp_path).name, "run")
    assert json.loads(Path("run/config.json").read_text())["source"] == {"path": "rows.csv", "folder": str(tmp_path)}


@pytest.mark.parametrize("name", METHODS)
def test_every_method_can_be_asked_for_on_the_command_line(name):
    """A hyper-parameter that is called like a flag of fit has "method-" before it."""
    asked = ["fit", "--method", name, "--help"]
    shown = CliRunner().invoke(command_line.application(asked), asked, env={"COLUMNS": "300", "TERMINAL_WIDTH": "300"})
    assert shown.exit_code == 0
    for item in fields(METHODS[name]):
        flag = f"--method-{item.name}" if item.name == "weight" else f"--{item.name}"
        assert flag.replace("_", "-") in shown.output


def test_an_option_is_named_as_who_reads_it_gives_it(tmp_path, capsys):
    (tmp_path / "a.csv").write_text("age,job,kind\n1,x,a\n2,y,b\n")
    with pytest.raises(InputError, match=r"'label' .*label= names it"):
        NoisyLabelClassifier(method="features").fit(tmp_path / "a.csv")
    call("fit", tmp_path / "a.csv", "--out", tmp_path / "run", expect=2)
    assert "--label names it" in " ".join(capsys.readouterr().err.split())
    asked = (("drop", ["a", "b"]), ("keep_na", True), ("out", None))
    assert [option(*each) for each in asked] == ["drop=['a', 'b']", "keep_na=True", "out="]
    with speaking_flags():
        assert [option(*each) for each in asked] == ["--drop a,b", "--keep-na", "--out"]
    assert option("out") == "out="


def test_no_message_of_the_library_proposes_both_a_flag_and_a_parameter():
    package = Path(codivide.__file__).parent
    twice = [
        f"{path.relative_to(package)}: {line.strip()}"
        for path in sorted(package.rglob("*.py"))
        for line in path.read_text("utf-8").splitlines()
        if re.search(r"\(--[a-z-]+, [a-z_]+=|\([a-z_]+=\S* in Python\)", line)
    ]
    assert twice == []


def test_a_run_on_texts_says_what_a_stronger_encoder_needs(tmp_path, capsys, monkeypatch):
    texts = [f"{'good' if row % 2 else 'bad'} film number {row}" for row in range(60)]
    pd.DataFrame({"text": texts, "label": ["n", "p"] * 30}).to_csv(tmp_path / "t.csv", index=False)
    for more, said in (([], True), (["--encoder", "tfidf"], False)):
        call("fit", str(tmp_path / "t.csv"), "--out", str(tmp_path / f"run{said}"), *more)
        shown = capsys.readouterr()
        assert ("a stronger encoder may find more: for English --encoder best (438 MB" in shown.out + shown.err) == said
        assert f"numbers each by {'tfidf:char' if said else 'tfidf'})" in shown.out
    monkeypatch.setattr(pretrained, "has_minilm", lambda: True)
    assert output._stronger("tfidf:char") == "for English --encoder tfidf+minilm, or best (438 MB to download)"


def test_the_names_that_are_known_before_torch_is_loaded_are_all():
    assert early.methods() == list(METHODS)
    assert early.nets() == nets.names()
    assert early.data_sets() == named.names()
    assert early.encoders() == encode.names()


@pytest.mark.parametrize(
    ("wrong", "later"),
    [
        ({"method": "elrr"}, lambda: build_method("elrr")),
        ({"net": "resnet_18"}, lambda: nets.build("resnet_18", (1, 8, 8), 2)),
        ({"encoder": "minilmm"}, lambda: encode.check_name("minilmm")),
        ({"read": ("cifar10n:wrose",)}, lambda: load("cifar10n:wrose")),
        ({"read": ("digits", "nosuch")}, lambda: load("nosuch")),
    ],
)
def test_an_unknown_name_is_refused_early_in_the_same_words(wrong, later, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    fine = {"read": ("digits", None), "out": tmp_path, "method": "auto", "net": "auto", "encoder": "auto"}
    held = {"resume": False, "overwrite": False, "inputs": []}
    early.refuse(**fine, **held)
    with pytest.raises(InputError) as raised:
        early.refuse(**{**fine, **wrong}, **held)
    with pytest.raises(InputError, match=f"^{re.escape(str(raised.value))}$"):
        later()


@pytest.mark.parametrize("name", ["tfidf:char", "hf:some/where", "timm:resnet18", "none", "best", "own:mine"])
def test_encoders_that_may_be_meant_are_not_refused_early(name):
    assert early._is_encoder(name, early.encoders())


@pytest.mark.parametrize("name", ["tfidf:", "tfidf:words", "hf", "hf:", "hf:a:", "resnet18", ""])
def test_encoders_that_mean_nothing_are_refused_early_and_later(name):
    assert not early._is_encoder(name, early.encoders())
    with pytest.raises(InputError, match="unknown encoder"):
        encode.check_name(name)


def test_without_the_source_of_the_package_names_are_looked_at_later(tmp_path, monkeypatch):
    held = {"out": tmp_path / "run", "resume": False, "overwrite": False, "inputs": []}
    names = {"method": "nosuch", "net": "nosuch", "encoder": "nosuch"}
    monkeypatch.setattr(early, "_PACKAGE", tmp_path)  # compiled files alone, or an archive
    early.refuse(("nosuch", None), **held, **names)
    flags = [flag.name for flag in method_flags(["fit", "digits", "--method", "elr", "--beta", "0.8"])]
    assert "beta" in flags
