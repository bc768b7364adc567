"""A person's decisions: their file, and training that never doubts them."""

import hashlib
import json
import re
import sys
from dataclasses import fields, replace

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given as cases
from hypothesis import strategies as st

from codivide import Data, InputError, NoisyLabelClassifier, train
from codivide.cli.app import main
from codivide.core.files import guard, unguard
from codivide.data.corrections import Correction, Known, confirm, from_frame, read, read_all, write
from codivide.data.sources import load
from codivide.methods import METHODS
from codivide.training.checkpoint import Checkpoint
from codivide.training.run import Run
from tests import toys

HOSTILE = [
    "=cmd|' /C calc'!A0",
    "'=1",
    "''-1",
    "-1",
    "+x",
    "@x",
    "\tx",
    "\rx",
    'a"b,c',
    "a\nb",
    "</script>",
    "'",
    "x" * 10_000,
]
every_method = pytest.mark.parametrize("name", [name for name, cls in METHODS.items() if cls.trains])


# The file


@cases(st.text("'=+-@\t\r\na", max_size=6))
def test_guard_gives_no_formula_and_unguard_gives_the_cell_back(cell):
    assert unguard(guard(cell)) == cell
    assert guard(cell)[:1] not in tuple("=+-@\t\r") or set(cell) == {"-"}
    assert guard(cell) in (cell, "'" + cell)


def test_what_is_written_can_be_read(tmp_path):
    rows = [
        Correction(text, "a", "relabel", label, "2026-01-01")
        for text, label in zip(HOSTILE, HOSTILE[::-1], strict=True)
    ]
    rows += [Correction("kept", "b", "keep"), Correction("gone", "b", "junk")]
    write(tmp_path / "c.csv", rows)
    assert list(read(tmp_path / "c.csv").rows) == rows
    for cell in (tmp_path / "c.csv").read_text(encoding="utf-8").replace('"', "").split(","):
        assert not cell.startswith(("=", "+", "-", "@")) or cell == "-1"


def test_what_a_spreadsheet_makes_of_it_can_be_read(tmp_path):
    lines = [
        "\ufeffid,given,decision,label,time,remark",
        "3,a,accept,b,,yes",
        "",
        "3,a,accept,b,later,again",
        "'-1,b,keep,b,,",
    ]
    text = "\r\n".join(lines)
    (tmp_path / "c.csv").write_bytes(text.encode())
    found = read(tmp_path / "c.csv")
    assert [(row.id, row.final, row.line) for row in found.rows] == [("3", "b", 2), ("-1", "b", 5)]
    record = {"file": str(tmp_path / "c.csv"), "confirmed": 2, "relabelled": 1, "junk": 0}
    record["changes"] = [["3", "a", "b"]]
    assert found.record() == record | {"sha256": hashlib.sha256(text.encode()).hexdigest()}


@pytest.mark.parametrize(
    ("divider", "encoding"), [(";", "utf-8-sig"), ("\t", "utf-16"), (";", "cp1252"), (",", "utf-8")], ids=str
)
def test_a_spreadsheet_may_save_it_in_its_own_way(tmp_path, divider, encoding):
    lines = ["ID,Given,Decision,Label,Time", "1,ä,Accept,b;c,28.11.2026 10:00", ",,,,", "2,b,KEEP ,,", ",,,,"]
    cells = [line.split(",") for line in lines]
    cells[1][3] = '"b;c"'
    text = "\r\n".join(divider.join(row) for row in cells)
    (tmp_path / "c.csv").write_bytes(text.encode(encoding))
    found = [(row.id, row.given, row.decision, row.final) for row in read(tmp_path / "c.csv").rows]
    assert found == [("1", "ä", "accept", "b;c"), ("2", "b", "keep", "b")]


HEADER = "id,given,decision,label,time\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("", "one column 'id'", id="empty"),
        pytest.param("id;given;label\n", "one column 'id' .columns: id;given", id="semicolons"),
        pytest.param("id,given,label\n", "one column 'decision'", id="no decision"),
        pytest.param("id,id,given,decision,label\n", "one column 'id'", id="column twice"),
        pytest.param(
            HEADER + "1,a,keep,,\n\n2,a,acept,b,\n",
            "line 4: unknown decision 'acept'. Did you mean 'accept'",
            id="word",
        ),
        pytest.param(
            HEADER + '"1\n1",a,keep,,\n2,a,relabel,,\n', "line 4: 'relabel' of '2' needs a label", id="no label"
        ),
        pytest.param(HEADER + "2,a,junk,b,\n", "line 2: 'junk' of '2' has the label 'b'", id="junk with a label"),
        pytest.param(HEADER + "2,a,keep,b,\n", "line 2: 'keep' of '2' has the label 'b'", id="kept another"),
        pytest.param(HEADER + "2,,keep,,\n", "line 2: '2' has no given label to keep", id="kept none"),
        pytest.param(HEADER + ",a,keep,,\n", "line 2: there is no id", id="no id"),
        pytest.param(HEADER + "2,a\n", "line 2: 2 cells where the first line has 5", id="short"),
        pytest.param(
            HEADER + "2,a,junk,,\n2,a,keep,,\n", "line 3: '2' is 'keep' here and 'junk' in line 2", id="twice"
        ),
        pytest.param(HEADER + "2,a,relabel,b,\n2,a,relabel,c,\n", "line 3: '2' is", id="two labels"),
        pytest.param(HEADER + '2,a,"junk,,\n', "line 2: ", id="open quote"),
    ],
)
def test_a_wrong_file_is_named_with_its_line(tmp_path, text, message):
    (tmp_path / "c.csv").write_text(text)
    with pytest.raises(InputError, match=message) as error:
        read(tmp_path / "c.csv")
    assert str(tmp_path / "c.csv") in str(error.value)


def test_files_of_two_people_are_one_where_they_agree(tmp_path):
    anna, ben, both = (tmp_path / name for name in ("anna.csv", "ben.csv", "both.csv"))
    anna.write_text(HEADER + "1,a,accept,b,\n2,a,keep,,\n3,a,junk,,\n")
    ben.write_text(HEADER + "1,a,relabel,b,\n4,a,relabel,c,\n")  # the same label, in another word
    found = read_all([anna, ben])
    assert [(row.id, row.final) for row in found.rows] == [("1", "b"), ("2", "a"), ("3", None), ("4", "c")]
    assert found.record() | {"sha256": ""} == {
        "file": f"{anna}, {ben}",
        "sha256": "",
        "confirmed": 3,
        "relabelled": 2,
        "junk": 1,
        "changes": [["1", "a", "b"], ["3", "a", None], ["4", "a", "c"]],
    }
    assert read_all([anna]) == read(anna)
    both.write_text(anna.read_text() + ben.read_text())  # the second has a first line, too
    assert read(both).rows == found.rows
    with pytest.raises(InputError, match=r"ben.csv, line 3: no sample of this run has the id '4'"):
        found.check(Known.of("123", "aaa", "abc"))


def test_where_two_people_decide_otherwise_all_such_samples_are_counted(tmp_path):
    anna, ben = tmp_path / "anna.csv", tmp_path / "ben.csv"
    anna.write_text(HEADER + "0,a,keep,,\n" + "".join(f"{k},a,keep,,\n" for k in range(1, 8)))
    ben.write_text(HEADER + "0,a,keep,,\n1,a,junk,,\n" + "".join(f"{k},a,accept,b,\n" for k in range(2, 8)))
    with pytest.raises(InputError) as error:
        read_all([anna, ben])
    assert str(error.value).startswith(
        f"the files decide otherwise on 7 samples: '1' is 'a' in {anna}, line 3, and junk in {ben}, line 3; "
        f"'2' is 'a' in {anna}, line 4, and 'b' in {ben}, line 4;"
    )
    assert "; and 2 more. Agree on one" in str(error.value)


@pytest.mark.parametrize("swapped", [False, True])
def test_a_decision_of_the_next_round_counts_in_the_place_of_the_first(tmp_path, swapped):
    first, second = tmp_path / "first.csv", tmp_path / "second.csv"
    first.write_text(HEADER + "1,a,accept,b,\n2,a,accept,b,\n3,a,accept,b,\n4,a,accept,b,\n5,a,keep,,\n")
    second.write_text(HEADER + "1,b,keep,,\n2,b,relabel,c,\n3,b,junk,,\n6,b,keep,,\n")
    found = read_all([second, first] if swapped else [first, second])
    found.check(Known.of("123456", "aaaaab", "abc"))
    finals = {row.id: row.final for row in found.rows}
    assert finals == {"1": "b", "2": "c", "3": None, "4": "b", "5": "a", "6": "b"}
    second.write_text(HEADER + "1,c,keep,,\n")
    with pytest.raises(InputError, match=r"'1' is 'b' for 'a' in .*first.csv, line 2, and 'c' for 'c' in"):
        read_all([first, second])


def test_a_file_that_is_no_text_is_refused(tmp_path):
    (tmp_path / "c.csv").write_bytes(b"\xff\xfe\x00")
    for path in (tmp_path / "c.csv", tmp_path / "none.csv", tmp_path):
        with pytest.raises(InputError, match="cannot be read"):
            read(path)


def test_a_workbook_of_decisions_says_what_to_do(tmp_path):
    pd.DataFrame({"id": ["1"], "given": ["a"], "decision": ["keep"], "label": ["a"]}).to_excel(tmp_path / "c.xlsx")
    with pytest.raises(InputError, match="is a workbook, and decisions are read from CSV alone: save it as CSV"):
        read(tmp_path / "c.xlsx")


KNOWN = Known.of([0, 1, 2, 2], ["cat", None, "dog", "dog"], ["cat", "dog"])


@pytest.mark.parametrize(
    ("row", "message"),
    [
        pytest.param(Correction("9", "cat", "keep"), "no sample of this run has the id '9'", id="id"),
        pytest.param(Correction("0", "dog", "keep"), "decided on with 'dog', but has 'cat'", id="given"),
        pytest.param(Correction("1", "dog", "junk"), "decided on with 'dog', but has no label", id="given none"),
        pytest.param(Correction("0", "cat", "relabel", "dig"), "'dig' is not a class .*Did you mean 'dog'", id="class"),
        pytest.param(Correction("2", "dog", "keep"), "several samples have the id '2'", id="ambiguous"),
    ],
)
def test_a_decision_must_fit_the_run(row, message):
    with pytest.raises(InputError, match=message):
        KNOWN.check(row)
    replace(KNOWN, new_classes=True).check(Correction("0", "cat", "relabel", "dig"))
    KNOWN.check(Correction("1", "", "accept", "dog"))


def test_decisions_become_training_data():
    x = np.arange(12, dtype=np.float32).reshape(6, 2)
    loaded = load(x, ["a", "b", "a", "b", "a", None])
    loaded = replace(loaded, test=loaded, truth=loaded.y)
    rows = [("0", "a", "keep", ""), ("1", "b", "accept", "a"), ("3", "b", "junk", ""), ("5", "", "relabel", "b")]
    decided = from_frame(pd.DataFrame(rows, columns=["id", "given", "decision", "label"]))
    found = confirm(loaded, decided)
    assert found.ids == [0, 1, 2, 4, 5]
    assert found.y.tolist() == [0, 0, 0, 0, 1]
    assert found.confirmed.tolist() == [True, True, False, False, True]
    assert found.truth.tolist() == [0, 1, 0, 0, -1]
    assert torch.equal(found.x[torch.arange(5)], torch.from_numpy(x[[0, 1, 2, 4, 5]]))
    assert loaded.y.tolist() == [0, 1, 0, 1, 0, -1]
    assert len(found.test.y) == 6


def test_a_new_class_needs_leave_and_the_type_of_the_others():
    frame = pd.DataFrame([(0, 1, "relabel", 7)], columns=["id", "given", "decision", "label"])
    loaded = load(np.zeros((3, 2), np.float32) + np.arange(3)[:, None], [1, 2, 1])
    with pytest.raises(InputError, match=r"corrections, line 2: '7' is not a class of this run; new_classes=True \("):
        confirm(loaded, from_frame(frame))
    found = confirm(replace(loaded, test=loaded), from_frame(frame), new_classes=True)
    assert found.classes == found.test.classes == (1, 2, 7)
    assert found.y.tolist() == [2, 1, 0]
    with pytest.raises(InputError, match=r"line 2: the classes are numbers, so the new class 'x'"):
        confirm(loaded, from_frame(frame.assign(label="x")), new_classes=True)


# Training


def pinned(noise=0.3, seed=0):
    """A toy of which some wrong and some right labels are confirmed: the wrong ones are the ones a rule would doubt."""
    problem = toys.toy(120, noise, seed)
    wrong = (problem.data.y != problem.truth).nonzero().flatten()[:8]
    confirmed = torch.zeros(120, dtype=torch.bool)
    confirmed[wrong] = True
    confirmed[:4] = True
    return replace(problem.data, confirmed=confirmed)


def quick(name, **hyper):
    known = [item.name for item in fields(METHODS[name])]
    return METHODS[name](**({"warmup": 1} if "warmup" in known else {}), **hyper)


@every_method
def test_a_confirmed_label_ends_with_probability_1(name):
    data = pinned()
    run = train(quick(name), data, toys.build, toys.plan(3))
    prob = run.clean_prob()
    assert (prob[data.confirmed] == 1).all()
    plain = train(quick(name), replace(data, confirmed=None), toys.build, toys.plan(3))
    assert (plain.clean_prob()[data.confirmed] < 1).any()
    assert torch.equal(run.data.y, data.y)


@pytest.mark.parametrize("division", ["mixture", "class_wise_events"])
def test_dividemix_learns_confirmed_labels_as_labels(monkeypatch, division):
    data, seen = pinned(), []
    original = Run.pairs
    monkeypatch.setattr(
        Run, "pairs", lambda run, a, b, *more, **named: seen.append((a, b)) or original(run, a, b, *more, **named)
    )
    run = train(quick("dividemix", division=division), data, toys.build, toys.plan(4))
    assert len(seen) == 6
    for known, rest in seen:
        assert known[data.confirmed].all()
        assert not rest[data.confirmed].any()
        assert rest.any()
    for i in range(2):
        assert (run.memory[f"clean_prob.{i}"][data.confirmed] == 1).all()


def test_unicon_and_promix_select_confirmed_labels():
    data = pinned()
    run = train(quick("unicon"), data, toys.build, toys.plan(3))
    assert run.method.select(run)[data.confirmed].all()
    assert (run.memory["divergence"][data.confirmed] == 0).all()
    assert not run.memory["kept"].all()
    run = train(quick("promix"), data, toys.build, toys.plan(3))
    for i in range(2):
        kept = run.method.select(run, i)
        assert kept[data.confirmed].all()
        assert not kept.all()


@pytest.mark.parametrize("name", ["co_teaching", "co_teaching_plus", "jocor"])
def test_small_loss_methods_forget_no_confirmed_label(monkeypatch, name):
    data, seen = pinned(), []
    small = METHODS[name].small

    def watched(run, batch, losses, where, kept):
        chosen = small(run, batch, losses, where, kept)
        seen.append((run.epoch, batch.id[chosen], batch.id[where], batch.id))
        return chosen

    monkeypatch.setattr(METHODS[name], "small", staticmethod(watched))
    train(quick(name, forget_rate=0.6, rise=1), data, toys.build, toys.plan(4))
    late = [row for row in seen if row[0] > 1]
    assert late
    for _, chosen, where, every in late:
        sure = every[data.confirmed[every]]
        if name != "co_teaching_plus" or len(where) < len(every):
            assert set(sure.tolist()) <= set(chosen.tolist())
    assert any(len(chosen) < len(where) for _, chosen, where, _ in late)


def test_the_smallest_losses_come_first_and_as_many_as_before():
    """Against the rule as a loop: confirmed ones, then the smallest, at least the share."""
    data = pinned()
    run = train(quick("co_teaching"), data, toys.build, toys.plan(1))
    generator = torch.Generator().manual_seed(3)
    for kept in (0.0, 0.2, 0.5, 1.0):
        batch = run.fetch(torch.randperm(120, generator=generator)[:16], ("plain",))
        losses = torch.rand(16, generator=generator)
        sure = [k for k in range(16) if data.confirmed[batch.id[k]]]
        others = sorted((k for k in range(16) if k not in sure), key=lambda k: losses[k])
        count = max(int(kept * 16), len(sure), 1)
        chosen = run.method.small(run, batch, losses, torch.arange(16), kept)
        assert sorted(chosen.tolist()) == sorted((sure + others)[:count])


@pytest.mark.parametrize("name", ["mentornet", "mentormix"])
def test_a_curriculum_gives_confirmed_labels_their_whole_weight(name):
    data = pinned()
    run = train(
        METHODS[name](warmup=0, **({"sample_dropout": "0,100"} if name == "mentornet" else {})),
        data,
        toys.build,
        toys.plan(2),
    )
    batch = run.fetch(torch.arange(120), ("plain",))
    losses = torch.where(data.confirmed, 50.0, torch.linspace(0, 1, 120))
    weights = run.method.weights(run, batch, losses)
    assert (weights[data.confirmed] == 1).all()
    assert (weights == 0).any()


def test_corrected_labels_are_not_corrected_again():
    data = pinned()
    given = torch.nn.functional.one_hot(data.y, 3).float()
    for labels in ("soft", "hard", "hard_k"):
        method = METHODS["joint_optimization"](labels=labels, update_from=1, first_share=0.8)
        held = train(method, data, toys.build, toys.plan(5)).memory["labels"]
        assert torch.equal(held[data.confirmed], given[data.confirmed])
        assert not torch.equal(held, given)
    run = train(quick("m_correction"), data, toys.build, toys.plan(3))
    assert (run.memory["clean_prob"][data.confirmed] == 1).all()
    for name in ("sop", "sop_plus"):
        run = train(quick(name), data, toys.build, toys.plan(3))
        assert not run.memory["u"][data.confirmed].any()
        assert not run.memory["v"][data.confirmed].any()
        assert run.memory["u"].any()


@pytest.mark.parametrize("name", ["dividemix", "unicon", "co_teaching_plus", "joint_optimization"])
def test_resume_is_the_straight_run(name, tmp_path):
    data = pinned()
    straight = train(quick(name), data, toys.build, toys.plan(4))

    class Stop(Exception):
        pass

    def stop(run):
        if run.epoch == 3:
            raise Stop

    path = tmp_path / "run.safetensors"
    with pytest.raises(Stop):
        train(quick(name), data, toys.build, toys.plan(4), watch=stop, checkpoint=Checkpoint(path))
    with pytest.raises(InputError, match="confirmed labels is"):
        train(
            quick(name),
            replace(data, confirmed=None),
            toys.build,
            toys.plan(4),
            checkpoint=Checkpoint(path, resume=True),
        )
    resumed = train(quick(name), data, toys.build, toys.plan(4), checkpoint=Checkpoint(path, resume=True))
    assert toys.same(toys.state(straight), toys.state(resumed)) == []


def test_none_confirmed_is_as_before():
    data = pinned()
    none = replace(data, confirmed=torch.zeros(120, dtype=torch.bool))
    for name in ("unicon", "co_teaching_plus"):
        runs = [train(quick(name), each, toys.build, toys.plan(3)) for each in (none, replace(data, confirmed=None))]
        assert toys.same(*map(toys.state, runs)) == []


def test_a_confirmed_sample_needs_a_label():
    problem = toys.toy(60, unlabelled=10).data
    bad = Data(problem.x, problem.y, problem.classes, problem.views, torch.ones(60, dtype=torch.bool))
    with pytest.raises(InputError, match="confirmed but has no label"):
        train(METHODS["cross_entropy"](), bad, toys.build, toys.plan(1))


# Estimator and command line


def blobs():
    generator = np.random.default_rng(0)
    truth = np.arange(90) % 3
    x = (np.eye(3, 4)[truth] * 4 + generator.normal(size=(90, 4))).astype(np.float32)
    given = truth.copy()
    given[:12] = (given[:12] + 1) % 3
    return x, given, truth


def test_the_estimator_takes_decisions(tmp_path):
    x, given, truth = blobs()
    rows = [(k, given[k], "relabel", truth[k]) for k in range(6)] + [(20, given[20], "junk", "")]
    frame = pd.DataFrame(rows, columns=["id", "given", "decision", "label"])
    clf = NoisyLabelClassifier(epochs=3).fit(x, given, corrections=frame)
    files = [tmp_path / "anna.csv", tmp_path / "ben.csv"]
    for part, file in zip((frame[:4], frame[4:]), files, strict=True):
        part.to_csv(file, index=False)
    again = NoisyLabelClassifier(epochs=3).fit(x, given, corrections=files)
    assert again.clean_proba_.tolist() == clf.clean_proba_.tolist()
    assert len(clf.clean_proba_) == len(clf.labels_) == 89
    assert 20 not in set(clf.labels_["id"])
    assert clf.labels_["given"][:6].tolist() == truth[:6].tolist()
    assert clf.labels_["confirmed"].tolist() == [True] * 6 + [False] * 83
    assert not set(range(6)) & set(clf.label_issues_["id"])
    assert (clf.clean_proba_[:6] == 1).all()
    assert (clf.clean_proba_[6:] < 1).any()


def test_fit_takes_decisions_and_records_them(tmp_path, monkeypatch, capsys):
    x, given, truth = blobs()
    names = np.array(["ant", "bee", "=cat"])
    pd.DataFrame({"label": names[given], "a": x[:, 0], "b": x[:, 1], "c": x[:, 2]}).to_csv(
        tmp_path / "t.csv", index=False
    )
    rows = [Correction(str(k), names[given[k]], "accept", names[truth[k]]) for k in range(6)]
    write(
        tmp_path / "c.csv",
        [*rows, Correction("30", names[given[30]], "junk"), Correction("31", names[given[31]], "keep")],
    )

    def fit(out, *more):
        words = [
            "fit",
            str(tmp_path / "t.csv"),
            "--out",
            str(tmp_path / out),
            "--method",
            "cross_entropy",
            "--epochs",
            "2",
        ]
        monkeypatch.setattr(sys, "argv", ["codivide", *words, "--corrections", str(tmp_path / "c.csv"), *more])
        with pytest.raises(SystemExit) as done:
            main()
        return done.value.code, re.sub(r"\s+", " ", capsys.readouterr().err)

    assert fit("run")[0] == 0
    digest = hashlib.sha256((tmp_path / "c.csv").read_bytes()).hexdigest()
    expected = {"file": str(tmp_path / "c.csv"), "sha256": digest, "confirmed": 7, "relabelled": 6, "junk": 1}
    for name in ("config.json", "summary.json"):
        record = json.loads((tmp_path / "run" / name).read_text())["corrections"]
        assert [row[0] for row in record.pop("changes")] == [str(row) for row in (0, 1, 2, 3, 4, 5, 30)]
        assert record == expected
    table = pd.read_parquet(tmp_path / "run" / "labels.parquet").set_index("id")
    assert 30 not in table.index
    assert (table.loc[[0, 1, 2, 3, 4, 5, 31], "clean_prob"] == 1).all()
    assert table.loc[range(6), "given"].tolist() == names[truth[:6]].tolist()

    write(tmp_path / "c.csv", [Correction("0", "bee", "relabel", "wasp")])
    code, said = fit("other")
    assert code == 2
    assert "c.csv, line 2: 'wasp' is not a class" in said
    assert not (tmp_path / "other").exists()
    write(tmp_path / "d.csv", [Correction("1", names[given[1]], "junk")])
    assert fit("other", "--new-classes", "--corrections", str(tmp_path / "d.csv"))[0] == 0
    assert json.loads((tmp_path / "other" / "summary.json").read_text())["corrections"]["junk"] == 1
    assert json.loads((tmp_path / "other" / "summary.json").read_text())["classes"] == ["=cat", "ant", "bee", "wasp"]


def test_whole_numbers_of_a_frame_stay_whole_beside_an_empty_cell():
    frame = pd.DataFrame({"id": ["a", "b"], "given": [1, 2], "decision": ["relabel", "junk"], "label": [3, None]})
    assert [row.label for row in from_frame(frame).rows] == ["3", ""]
