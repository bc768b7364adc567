"""The pictures of a run show what was recorded, and say so when something is missing."""

import json
import sys

import matplotlib.image
import numpy as np
import pytest

from codivide import InputError, noise_report
from codivide.cli.app import main
from codivide.runs import plot
from codivide.runs.folder import SavedRun

pytestmark = pytest.mark.long  # whole runs, several of them

EPOCHS = 8


def rows(known=True, test=True, looked=(1, 2, 4, 6, 8)):
    rng = np.random.default_rng(0)
    for epoch in range(1, EPOCHS + 1):
        row = {"epoch": epoch, "lr": 0.1 if epoch < 5 else 0.001, "loss": 2.0 / epoch, "seconds": 0.1}
        if test and epoch % 2 == 0:
            row["test_accuracy"] = 0.5 + epoch / 20
        if epoch in looked:
            memorised = epoch / 10
            row["given_agreement"] = 0.3 + epoch / 20
            row["final_agreement"] = 0.2 + epoch / 10
            if known:
                row |= {"clean_correct": 0.9, "clean_incorrect": 0.1, "loss_auroc": 1 - epoch / 20}
                row |= {"wrong_correct": 0.95 - memorised, "wrong_memorised": memorised, "wrong_other": 0.05}
            names = ("clean", "wrong") if known else ("unknown",)
            row["losses"] = {"low": 0.1, "high": 2.1} | {name: rng.integers(0, 30, 100).tolist() for name in names}
            row["losses"]["mixture"] = {"weight": [0.75, 0.25], "mean": [0.4, 1.5], "variance": [0.01, 0.04]}
        yield row


def write(folder, records, finished=True):
    folder.mkdir()
    config = {"version": "0", "method": "dividemix", "data": "digits", "plan": {"epochs": EPOCHS}}
    config["source"] = {"noise": "symmetric:0.4"}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in records))
    if finished:
        (folder / "summary.json").write_text(json.dumps({"detection": {"auroc": 0.97}}))
    return folder


@pytest.fixture
def run(tmp_path):
    return write(tmp_path / "run", rows())


def drawn(axes):
    """The lines of an axes by label."""
    return {line.get_label(): (list(line.get_xdata()), list(line.get_ydata())) for line in axes.lines}


def test_learning_shows_the_recorded_shares(run):
    record = SavedRun(run)
    clean, wrong = plot.learning(record).axes
    assert clean.get_title("left") == "Samples with a clean label"
    assert wrong.get_title("left") == "Samples with a wrong label"
    expected = {
        "predicted right": "clean_correct",
        "predicted wrong": "clean_incorrect",
        "predicted as the truth": "wrong_correct",
        "as the wrong label: memorised": "wrong_memorised",
        "as neither": "wrong_other",
    }
    found = drawn(clean) | drawn(wrong)
    assert found.keys() == expected.keys()
    assert drawn(clean).keys() == {"predicted right", "predicted wrong"}
    for label, name in expected.items():
        looked = [row for row in record.rows if name in row]
        assert found[label] == ([1, 2, 4, 6, 8], pytest.approx([100 * row[name] for row in looked]))


def test_without_truth_there_is_one_panel(tmp_path):
    record = SavedRun(write(tmp_path / "run", rows(known=False)))
    (axes,) = plot.learning(record).axes
    found = drawn(axes)
    assert found["predicted as the given label"][1] == pytest.approx([35, 40, 50, 60, 70])
    assert found["predicted as in the end (the suggestion)"][1] == pytest.approx([30, 40, 60, 80, 100])
    assert [axes.get_title("left") for axes in plot.curves(record).axes] == [
        "Training loss", "Test accuracy", "Learning rate",
    ]  # fmt: skip


def test_curves_show_the_recorded_numbers(run):
    record = SavedRun(run)
    loss, test, rate, detection = plot.curves(record).axes
    assert drawn(loss)["Training loss"] == (list(range(1, 9)), [2.0 / e for e in range(1, 9)])
    assert drawn(test)["Test accuracy"] == ([2, 4, 6, 8], pytest.approx([60, 70, 80, 90]))
    assert drawn(rate)["Learning rate"][1] == [0.1] * 4 + [0.001] * 4
    assert rate.get_yscale() == "log"
    found = drawn(detection)
    assert found["by the loss at that epoch"] == ([1, 2, 4, 6, 8], pytest.approx([0.95, 0.9, 0.8, 0.7, 0.6]))
    assert found["by p(clean) at the end"] == ([8], [0.97])


def test_losses_show_counts_and_mixture(run):
    record = SavedRun(run)
    figure = plot.losses(record, [2, 8])
    assert [axes.get_title("left") for axes in figure.axes] == ["epoch 2", "epoch 8"]
    kept = record.rows[1]["losses"]
    axes = figure.axes[0]
    for patch, name in zip(axes.patches, ("clean", "wrong"), strict=True):
        values, edges, _ = patch.get_data()
        assert list(values) == kept[name]
        assert edges[[0, -1]] == pytest.approx([0.1, 2.1])
    samples = sum(kept["clean"]) + sum(kept["wrong"])
    for line, weight in zip(axes.lines, (0.75, 0.25), strict=True):
        x, y = line.get_data()
        assert np.trapezoid(y, x) == pytest.approx(weight * samples * 0.02, rel=0.01)  # area: samples times bin width
    assert axes.lines[1].get_xdata()[axes.lines[1].get_ydata().argmax()] == pytest.approx(1.5, abs=0.01)
    assert len(plot.losses(record).axes) == 5
    with pytest.raises(InputError, match=r"epoch 3 were not kept; there are 1, 2, 4, 6, 8"):
        plot.losses(record, [2, 3])


@pytest.mark.long
def test_draw_writes_six_pictures_that_are_the_same_again(tmp_path):
    run = write(tmp_path / "run", rows(looked=(1, 4, 8)))
    paths, remarks = plot.draw(run)
    assert {path.name for path in paths} == {
        f"{n}.{k}" for n in ("learning", "curves", "losses") for k in ("png", "svg")
    }
    assert remarks == []
    for path in paths:
        if path.suffix == ".png":
            pixels = matplotlib.image.imread(path)
            assert pixels.shape[1] > 900
            assert pixels[..., :3].std() > 0.05  # not an empty page
        else:
            assert "<text" in path.read_text()
    before = {path: path.read_bytes() for path in paths}
    plot.draw(run)
    assert {path: path.read_bytes() for path in paths} == before
    plot.draw(run, tmp_path / "a" / "b")
    with pytest.raises(InputError, match="exists"):
        plot.draw(run, tmp_path / "a" / "b")


def test_an_unfinished_run_is_drawn_and_says_so(tmp_path):
    run = write(tmp_path / "run", list(rows())[:3], finished=False)
    with open(run / "metrics.jsonl", "a") as file:
        file.write('{"epoch": 4, "lo')  # killed while it wrote
    record = SavedRun(run)
    assert len(record.rows) == 3
    assert "unfinished: 3 of 8 epochs" in plot.learning(record).get_suptitle()
    paths, remarks = plot.draw(run)
    assert len(paths) == 6
    assert "unfinished" in remarks[0]
    one = SavedRun(write(tmp_path / "one", list(rows())[:1], finished=False))
    assert plot.learning(one).axes[0].lines[0].get_marker() == "o"


def test_a_run_without_a_learning_record_has_curves_only(tmp_path):
    run = write(tmp_path / "run", rows(looked=()))
    paths, remarks = plot.draw(run)
    assert [path.name for path in paths] == ["curves.png", "curves.svg"]
    assert [remark.partition(":")[0] for remark in remarks] == ["no learning.png", "no losses.png"]


def test_what_is_no_run_is_one_error(tmp_path):
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(InputError, match="not the folder of a run"):
            SavedRun(folder)
    with pytest.raises(InputError, match="no record of a finished epoch"):
        _ = SavedRun(write(tmp_path / "begun", [])).rows
    broken = write(tmp_path / "broken", rows())
    (broken / "metrics.jsonl").write_text("nonsense\n")
    with pytest.raises(InputError, match="cannot be read"):
        _ = SavedRun(broken).rows


def command(monkeypatch, *words) -> int:
    monkeypatch.setattr(sys, "argv", ["codivide", *map(str, words)])
    with pytest.raises(SystemExit) as stopped:
        main()
    return stopped.value.code or 0


def test_the_command(run, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "200")
    assert command(monkeypatch, "plot", run, "--out", tmp_path / "pictures", "--epochs", "1,8") == 0
    assert "learning.png" in capsys.readouterr().out
    assert (tmp_path / "pictures" / "losses.svg").read_text().count("epoch 8") == 1
    assert command(monkeypatch, "plot", run, "--epochs", "1,x") == 2
    assert "1,x" in capsys.readouterr().err
    assert command(monkeypatch, "plot", run, "--epochs", "3") == 2
    assert "1, 2, 4, 6, 8" in capsys.readouterr().err
    assert command(monkeypatch, "plot", tmp_path / "nowhere") == 2
    assert "nowhere" in capsys.readouterr().err


def test_a_run_that_was_stopped_while_it_chose_says_how_to_go_on(tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    write(folder / "scout", rows(), finished=False)
    for look in (SavedRun, noise_report):
        with pytest.raises(InputError, match=r"stopped while it chose.*, resume=True .*codivide plot .*scout"):
            look(folder)
    assert SavedRun(folder / "scout").rows


def test_two_runs_are_compared_in_one_picture(run, tmp_path, capsys, monkeypatch):
    other = write(tmp_path / "other", rows(looked=()))
    monkeypatch.setattr("sys.argv", ["codivide", "plot", str(run), str(other), "--out", str(tmp_path / "both")])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 0
    assert [path.name for path in sorted((tmp_path / "both").iterdir())] == ["compare.png", "compare.svg"]
    drawing = (tmp_path / "both" / "compare.svg").read_text()
    assert "Test accuracy" in drawing
    assert "Finding wrong labels" not in drawing  # the other run did not look
    assert str(other) in drawing
    plot.compare([run, other], tmp_path / "both")  # codivide's own picture may be replaced
    (tmp_path / "compare.png").write_bytes(b"a photo")
    with pytest.raises(InputError, match="exists"):
        plot.compare([run, other], tmp_path)
    with pytest.raises(InputError, match="two to 4"):
        plot.compare([run] * 5, tmp_path / "five")


def test_the_name_of_a_picture_is_no_folder(run, tmp_path):
    other = write(tmp_path / "other", rows())
    for out in (tmp_path / "x.png", tmp_path / "x.SVG"):
        with pytest.raises(InputError, match=r"x\.\w+' is the name of a picture; give a folder"):
            plot.compare([run, other], out)
        with pytest.raises(InputError, match=r"give a folder"):
            plot.draw(run, out)
        assert not out.exists()
    (tmp_path / "old.png").mkdir()
    assert plot.compare([run, other], tmp_path / "old.png")  # which is a folder


def test_heads_are_no_epochs(run, tmp_path):
    heads = [{"epoch": 1, "round": "linear", "loss": 1.4}, {"epoch": 2, "round": "mlp", "loss": 1.5}]
    of_features = write(tmp_path / "features", [*heads, next(rows(known=False)) | {"epoch": 3, "round": "divide"}])
    paths, remarks = plot.draw(of_features)
    assert [path.name for path in paths] == ["losses.png", "losses.svg"]
    assert remarks == [f"no {name}.png: features are learned without epochs" for name in ("learning", "curves")]
    assert plot.losses(SavedRun(of_features)).axes[0].get_title(loc="left") == "predicted without the label"
    with pytest.raises(InputError, match="features has no curves to compare: features are learned without epochs"):
        plot.compare([run, of_features], tmp_path / "both")
