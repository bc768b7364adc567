"""Time as a user sees it: budgets, estimates, and progress of the estimator."""

import re
import statistics
import sys
import time
import warnings
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from codivide import NoisyLabelClassifier
from codivide.bench import store
from codivide.cli import app, clock
from codivide.core.errors import InputError, TrainingWarning
from codivide.data import encode, progress
from codivide.data.sources import load
from codivide.fit import choose_run, choose_stages
from codivide.fit.budget import Budget, seconds
from codivide.fit.choose_rule import correction_cost
from codivide.fit.estimate import features_seconds
from codivide.fit.job import Job, default_plan
from codivide.methods.auto import Auto
from codivide.methods.features.options import NOT_FOR_FEATURES, Features


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("90s", 90),
        ("90 sec", 90),
        ("10m", 600),
        ("5min", 300),
        ("5 Minutes", 300),
        (" 1 minute ", 60),
        ("2h", 7200),
        ("1.5 hours", 5400),
        (".5h", 1800),
    ],
)
def test_a_budget_is_a_number_with_a_unit(text, expected):
    assert seconds(text, "budget") == expected


@pytest.mark.parametrize("given", ["5", 5, 300.0, " 5 "])
def test_a_budget_without_a_unit_is_refused(given):
    with pytest.raises(InputError, match=r"^--budget .*: give a unit: \S+s, \S+m \(minutes\) or \S+h$"):
        seconds(given, "--budget")


@pytest.mark.parametrize(
    "given", ["", "soon", "0", 0, "-3s", "5d", "5ms", "0.5s", "nan", "inf s", "9999999999h", "1h30m", True]
)
def test_what_is_no_time_is_refused(given):
    with pytest.raises(InputError, match="give a time such as 90s, 10m or 2h, at least 1s"):
        seconds(given, "budget")


def table(samples=120):
    generator = np.random.default_rng(0)
    y = generator.integers(0, 2, samples)
    return generator.normal(size=(samples, 3)) + 3 * y[:, None], y


def quick():
    return Features(heads="linear", correct=False)


class BegunError(Exception):
    """A run began; the test needs no more of it."""


def beginning(*words, **options):
    raise BegunError


def test_the_estimator_takes_a_budget_as_the_command_line_does(monkeypatch):
    x, y = table()
    seen = []

    def execute(job, *words, **options):
        seen.append((job.method, options["began"]))
        raise BegunError

    monkeypatch.setattr("codivide.fit.estimator.execute", execute)
    before = time.monotonic()
    with pytest.raises(BegunError):
        NoisyLabelClassifier(budget="5 minutes").fit(x, y)
    ((method, began),) = seen
    assert method == Auto(budget=300.0)
    assert before <= began <= time.monotonic()  # reading the data counts


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"budget": 5}, r"budget 5: give a unit: 5s, 5m \(minutes\) or 5h"),
        ({"budget": "soon"}, "budget soon: give a time"),
        ({"budget": "5m", "method": "elr"}, 'budget needs method="auto"'),
        ({"budget": "5m", "method": "features"}, 'budget needs method="auto"'),
    ],
)
def test_a_bad_budget_shows_before_the_data_are_read(settings, message):
    with pytest.raises(InputError, match=message):
        NoisyLabelClassifier(**settings).fit(Path("nowhere"))


def test_the_estimator_shows_progress_where_it_is_asked_to(capsys):
    x, y = table()
    NoisyLabelClassifier(quick()).fit(x, y)
    assert capsys.readouterr() == ("", "")
    NoisyLabelClassifier(quick(), verbose=1).fit(x, y)
    out, err = capsys.readouterr()
    lines = err.splitlines()
    assert out == ""
    assert lines[0] == "features on cpu"
    assert lines[1].startswith("features step 1/2 linear")
    assert re.match(r"\d of 120 labels looks? wrong; \d+ s$", lines[-1])


def test_a_default_run_of_rows_says_how_long_it_will_take(monkeypatch):
    x, y = table()
    loaded, said = load(x, y), []
    job = Job(Auto(), default_plan(len(y), Auto()))
    monkeypatch.setattr(choose_run.stages, "execute", beginning)
    with pytest.raises(BegunError):
        choose_run.execute(job, loaded, free=NOT_FOR_FEATURES, say=said.append)
    assert said == [
        "features: rows of 3 numbers; linear heads and small networks need seconds: about 2 to 3 s on a quiet core"
    ]


@pytest.mark.parametrize("budget", [None, 1e6])
def test_a_default_run_of_a_network_says_how_long_it_may_take(budget, monkeypatch):
    generator = np.random.default_rng(0)
    loaded = load(generator.random((200, 8, 8), dtype=np.float32), generator.integers(0, 2, 200))
    plan = default_plan(200, Auto(), epochs=40)
    said = []
    monkeypatch.setattr(choose_stages.Choosing, "_rehearse", lambda self: 3.0)

    def choosing(**options):
        job = Job(Auto(), plan, "mlp")
        told = {"begin": choose_stages.unseen, "say": said.append, "resume": False, **options}
        return choose_stages.Choosing(job, Auto(), loaded, None, (), budget=Budget(budget), **told)

    one = choosing()
    look = one._looking()
    assert one._scout_plan() == plan
    each = 3.0 * (1 + look)
    whole = each * 40 + correction_cost(each, 40, 3.0 * look)
    assert said == [
        f"a network on 200 samples: short run and correction take up to about {whole / 60:.0f} min, "
        f"the short run up to {each * 40 / 60:.0f} min of it; a budget limits this"
    ]
    if budget is None:  # nobody listens: nothing is rehearsed
        monkeypatch.setattr(choose_stages.Choosing, "_rehearse", lambda self: pytest.fail("rehearsed"))
        assert choosing(say=choose_stages.unheard)._scout_plan() == plan
        assert choosing(resume=True)._scout_plan() == plan


def test_a_rehearsal_says_nothing_of_what_it_learned(monkeypatch):
    generator = np.random.default_rng(0)
    loaded = load(generator.random((40, 8, 8), dtype=np.float32), np.arange(40) % 2)

    def execute(job, part):
        warnings.warn("the network has collapsed", TrainingWarning, stacklevel=2)
        return SimpleNamespace(history=[{"seconds": 9.0}, {"seconds": 0.5}])

    monkeypatch.setattr(choose_run.stages, "execute", execute)
    job = Job(Auto(), default_plan(40, Auto()), "mlp")
    told = {"begin": choose_stages.unseen, "say": choose_stages.unheard, "budget": Budget(), "resume": False}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert choose_stages.Choosing(job, Auto(), loaded, None, (), **told)._rehearse() == 0.5


def test_the_estimate_for_rows_is_that_of_the_recorded_runs():
    recorded = {}
    for row in store.read("results/detection").values():
        recorded.setdefault((row["samples"], row["features"]), []).append(row["results"]["codivide"]["seconds"])
    assert len(recorded) == 5
    for (samples, features), found in recorded.items():
        foreseen = features_seconds(samples, features, 10, ("linear", "mlp"))
        assert 0.5 < foreseen / statistics.median(found) < 3  # one chip takes twice as long as another


@pytest.mark.parametrize(
    ("samples", "features", "classes", "measured"),  # processor seconds of one thread, 20 % of the labels drawn anew
    [
        (2_000, 20, 2, 8.2),
        (2_000, 20, 10, 9.8),
        (2_000, 20, 50, 29.1),
        (2_000, 20, 200, 138.7),
        (2_000, 200, 2, 9.8),
        (2_000, 200, 10, 44.2),
        (2_000, 200, 50, 194.6),
        (10_000, 20, 2, 15.6),
        (10_000, 20, 10, 20.0),
        (10_000, 200, 2, 37.6),
    ],
)
def test_the_estimate_for_tables_counts_trees_columns_and_classes(samples, features, classes, measured):
    kinds = Features().kinds(samples, features)
    assert kinds == ("linear", "mlp", "forest", "boosting")
    assert 0.5 < features_seconds(samples, features, classes, kinds) / measured < 2


def test_encoding_is_foreseen_from_a_timed_first_part(monkeypatch, capsys):
    now, told = [0.0], []
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    with progress.Working("encoding", 1_000, shown=True, foreseen=told.append) as work:
        for at in (30.0, 31.0, 32.0, 42.0):  # the first part loads the network
            now[0] = at
            work.advance(10)
    assert told == [32 + 970 / 10]  # 10 a second, of which 30 in 32 s are done
    assert capsys.readouterr().err.splitlines() == [
        "encoding 20/1,000 eta 98 s",
        "encoding 40/1,000 eta 384 s",
    ]


def test_photos_say_how_long_their_encoding_takes(monkeypatch):
    generator, (rows, y) = np.random.default_rng(0), table()
    loaded = load(generator.integers(0, 255, (120, 32, 32, 3), dtype=np.uint8), y)
    encoded, said = load(rows, y), []

    def of_images(part, options, foreseen):
        foreseen(40.0)
        return encoded

    monkeypatch.setattr(encode, "of_images", of_images)
    monkeypatch.setattr(choose_run.stages, "execute", beginning)
    job = Job(Auto(), default_plan(120, Auto()))
    with pytest.raises(BegunError):
        choose_run.execute(job, loaded, free=NOT_FOR_FEATURES, say=said.append)
    assert said[1] == "encoding 120 photos and training on their features take about 42 to 43 s"


@pytest.mark.parametrize(("terminal", "notebook", "widgets", "live"), [
    (True, False, False, True),
    (False, True, True, True),
    (False, True, False, False),
    (False, False, True, False),
])  # fmt: skip
def test_a_bar_moves_on_a_terminal_and_in_a_notebook(terminal, notebook, widgets, live, monkeypatch):
    monkeypatch.setattr(progress, "find_spec", lambda name: SimpleNamespace() if widgets else None)
    assert progress.is_live(Console(force_terminal=terminal, force_jupyter=notebook)) is live


def test_what_is_wrong_with_the_data_as_a_whole_is_said_at_the_end(capsys):
    """Rare classes and such: it said that there was one finding, and not what."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(300, 4))
    y = np.where(x[:, 0] > 0, "a", "b").astype(object)
    y[40:46] = "quiet"
    NoisyLabelClassifier(Features(heads="linear"), verbose=1).fit(x, y)
    lines = capsys.readouterr().err.splitlines()
    closing = next(k for k, line in enumerate(lines) if "on the data as a whole" in line)
    told = lines[closing + 1 :]
    assert f"; {len(told)} finding{'s' * (len(told) > 1)} on the data as a whole; " in lines[closing]
    assert "Rare classes: rare classes, each with less than a tenth of an even share of the labels: 'quiet' (6)" in told


def test_the_clock_of_a_command_starts_before_what_it_imports(monkeypatch, capsys, tmp_path):
    seen, before = [], time.monotonic()
    monkeypatch.setattr(sys, "argv", ["codivide", "--version"])
    with monkeypatch.context() as patched:
        patched.setattr(app, "settle", lambda: time.sleep(0.05))
        patched.setattr(app, "_call", lambda arguments: seen.append((clock.began(), time.monotonic())) or 0)
        with pytest.raises(SystemExit):
            app.main()
    began, now = seen[0]
    assert before <= began <= now - 0.05
    assert clock.began() >= now  # no command runs

    pd.DataFrame({"text": ["good film", "bad film"] * 20, "label": ["p", "n"] * 20}).to_csv(tmp_path / "t.csv")
    monkeypatch.setattr(sys, "argv", ["codivide", "fit", str(tmp_path / "t.csv"), "--out", str(tmp_path / "run")])
    monkeypatch.setattr(app, "running", lambda since: clock.running(since - 5000))
    with pytest.raises(SystemExit):
        app.main()
    assert re.search(r"labels look wrong.*; (5,?0\d\d s|8\d min)", capsys.readouterr().out)
