"""A run folder whose files are damaged: one error that names the file, whoever reads it."""

import contextlib
import json
import shutil

import numpy as np
import pytest
from safetensors.torch import save_file

from codivide import InputError, audit, load_model, noise_report
from codivide.audit import clean
from codivide.core.files import read_tensors, to_line
from codivide.data.experiment import part
from codivide.data.record import DataRecord
from codivide.data.sources import load
from codivide.fit.execute import execute
from codivide.fit.job import Job, build_method, default_plan
from codivide.runs import label_table, plot
from codivide.runs.claim import check_folder
from codivide.runs.folder import SavedRun, is_run

DEEP = "[" * 100_000


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A finished run of one epoch."""
    run = tmp_path_factory.mktemp("damage") / "run"
    loaded = part(load("digits"), 120, 0)
    method = build_method("cross_entropy")
    plan = default_plan(len(loaded.y), method, epochs=1, device="cpu", precision="fp32")
    execute(Job(method, plan, "mlp", source=DataRecord(path="digits", limit=120)), loaded, run)
    return run


@pytest.fixture
def run(whole, tmp_path):
    return shutil.copytree(whole, tmp_path / "run")


def asked(path, look):
    """The message of the one error, which names the file."""
    with pytest.raises(InputError) as raised:
        look()
    assert path.name in str(raised.value)
    assert "\n" not in str(raised.value)
    return str(raised.value)


TEXTS = ["", "nonsense", "null", "[]", "3", DEEP, '{"a": ', "\x00\x01"]


@pytest.mark.parametrize("text", TEXTS, ids=range(len(TEXTS)))
@pytest.mark.parametrize("name", ["config.json", "summary.json"])
def test_json_that_is_none_or_no_object(run, name, text):
    (run / name).write_text(text)
    asked(run / name, lambda: getattr(SavedRun(run), name.partition(".")[0]))
    looks = {"config.json": [plot.draw, audit.collect], "summary.json": [plot.draw, clean.read_run]}
    for look in looks[name]:
        asked(run / name, lambda look=look: look(run))


@pytest.mark.parametrize("name", ["config.json", "summary.json"])
def test_json_of_another_program(run, name):
    (run / name).write_text("{}")
    looks = {"config.json": [plot.draw, audit.collect], "summary.json": [clean.read_run]}
    for look in looks[name]:
        asked(run / name, lambda look=look: look(run))
    (run / name).write_bytes(b"\xff\xfe{}")
    asked(run / name, lambda: plot.draw(run))


@pytest.mark.parametrize(
    "line", ["null", "[]", "{}", '{"epoch": "a"}', DEEP, '{"epoch": 1, "losses": 3}', '{"epoch": 1, "loss": "x"}']
)
def test_metrics(run, line):
    (run / "metrics.jsonl").write_text(line + "\n")
    asked(run / "metrics.jsonl", lambda: plot.draw(run))


def flipped(path, at):
    data = bytearray(path.read_bytes())
    data[at] ^= 0x10
    path.write_bytes(bytes(data))


@pytest.mark.long
def test_every_damage_of_the_predictions_is_one_error_and_the_audit_does_without(run):
    path = run / "predictions.npz"
    held, before = path.read_bytes(), noise_report(run).rate
    rates: list[float] = []
    said: list[str] = []
    for at in np.linspace(0, len(held) - 1, 60).astype(int).tolist():
        path.write_bytes(held)
        flipped(path, at)
        try:
            rates.append(noise_report(run).rate)  # of a byte that no reader looks at
        except InputError as error:
            said.append(str(error))
    assert set(rates) <= {before}
    assert len(said) > 20
    assert all("predictions.npz" in text for text in said)
    for content in (b"", b"PK", held[:100], held[:-30], b"\x93NUMPY\x01\x00"):
        path.write_bytes(content)
        asked(path, lambda: noise_report(run))
    found = audit.collect(run)
    assert any("the noise cannot be estimated" in reason for reason in found["noise"]["trust"]["reasons"])
    np.savez(path, given=np.zeros(3))
    asked(path, lambda: noise_report(run))
    np.savez(path, given=np.zeros(3), classes=np.array(["a", "b"]), mean_loss=np.zeros(7), probs=np.zeros(2))
    asked(path, lambda: noise_report(run))
    path.write_bytes(npy_of(10**12))
    asked(path, lambda: noise_report(run))


def test_clean_asks_for_a_rule_where_the_predictions_are_damaged(run, tmp_path):
    flipped(run / "predictions.npz", 200)
    said = asked(run / "predictions.npz", lambda: clean.clean(run, tmp_path / "out"))
    assert "give drop_below or relabel_above" in said
    assert not (tmp_path / "out").exists()
    clean.clean(run, tmp_path / "out", drop_below=0.01)
    assert (tmp_path / "out").exists()


def npy_of(rows):
    """An npz file whose header promises more than any memory holds."""
    import io
    import zipfile

    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        header = str({"descr": "<f8", "fortran_order": False, "shape": (rows,)}).ljust(117) + "\n"
        archive.writestr("given.npy", b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode())
    return file.getvalue()


@pytest.mark.parametrize("name", ["predictions.npz", "labels.parquet", "summary.json", "metrics.jsonl", "skipped.csv"])
def test_a_folder_in_place_of_a_file(run, name):
    (run / name).unlink(missing_ok=True)
    (run / name).mkdir()
    saved = SavedRun(run)
    names = {"metrics.jsonl": "rows", "labels.parquet": "labels"}
    asked(run / name, lambda: getattr(saved, names.get(name, name.partition(".")[0])))


def test_label_tables(run):
    for name in ("labels.parquet", "labels.csv"):
        for content in (b"", b"PAR1nonsensePAR1", b'"\xff'):
            (run / name).write_bytes(content)
            asked(run / name, lambda: label_table.read(run))
            asked(run / name, lambda: audit.to_pandas(run))
        (run / name).unlink()


def changed(path, change):
    """The model's file with another header."""
    tensors, header = read_tensors(path, "model")
    path.unlink()
    save_file(tensors, path, {"model": json.dumps(change(header))})


@pytest.mark.parametrize(
    "change",
    [
        lambda header: None,
        lambda header: [header],
        lambda header: {"format": 1},
        lambda header: header | {"shape": 3},
        lambda header: header | {"shape": [7]},
        lambda header: header | {"members": "two"},
        lambda header: header | {"members": 0},
        lambda header: header | {"members": 9},
        lambda header: header | {"dtype": "nothing"},
        lambda header: header | {"precision": None},
        lambda header: header | {"net": 3},
        lambda header: header | {"classes": None},
        lambda header: header | {"encoder": [1]},
        lambda header: header | {"kind": "features"},
    ],
)
def test_headers_of_models(run, change):
    path = run / "model.safetensors"
    changed(path, change)
    asked(path, lambda: load_model(path))


def look_at_all(run):
    """What every reader of a finished run makes of it."""
    saved = SavedRun(run)
    found = [saved.config, saved.summary, saved.rows, saved.predictions, saved.skipped]
    found += [table.to_csv() for table in (saved.labels, saved.test_labels)]
    return repr(found), load_model(run / "model.safetensors").logits(load("digits").x).tolist()


@pytest.mark.long
def test_a_changed_byte_in_any_file_of_a_run_is_found(run):
    before, rng = look_at_all(run), np.random.default_rng(0)
    files = [
        path for path in run.iterdir() if path.name not in ("checkpoint.safetensors", "labels.csv", "labels_test.csv")
    ]
    assert {path.name for path in files} >= {"config.json", "summary.json", "metrics.jsonl", "labels.parquet"}
    said = []
    for path in files:
        held = path.read_bytes()
        for _ in range(12):
            place, data = int(rng.integers(len(held))), bytearray(held)
            data[place] ^= 1 << int(rng.integers(8))
            path.write_bytes([bytes(data), held[:place]][int(rng.integers(2))])
            try:
                assert look_at_all(run) == before  # such as a space of JSON
            except InputError as error:
                said.append((path.name, str(error)))
        path.write_bytes(held)
    assert all(name in text for name, text in said)
    assert len(said) > 0.8 * 12 * len(files)


def test_metrics_of_an_unfinished_run_are_those_of_its_checkpoint(run):
    (run / "summary.json").unlink()
    before = SavedRun(run).rows
    (run / "metrics.jsonl").write_text("".join(map(to_line, [before[0] | {"lr": 0.5}, *before[1:]])))
    assert "checkpoint" in asked(run / "metrics.jsonl", lambda: SavedRun(run).rows)
    (run / "metrics.jsonl").write_text(to_line(before[0])[:-9])  # cut within its only line
    assert "checkpoint" in asked(run / "metrics.jsonl", lambda: SavedRun(run).rows)
    (run / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in before))
    assert SavedRun(run).rows == before  # a line of an older version has no sum


def test_a_changed_byte_in_the_last_line_of_metrics_is_found(run):
    (run / "summary.json").unlink()
    (run / "checkpoint.safetensors").unlink()  # which may know less than this line
    before, path = SavedRun(run).rows, run / "metrics.jsonl"
    held = path.read_bytes()
    for at in range(held.rfind(b"\n", 0, -1) + 1, len(held) - 1):
        flipped(path, at)
        with contextlib.suppress(InputError):
            assert SavedRun(run).rows[-1].items() >= before[-1].items()  # its name was hit, not what it guards
        path.write_bytes(held)


def test_a_label_table_without_its_parquet_file_is_checked_too(run):
    (run / "labels.parquet").unlink()
    before = SavedRun(run).labels
    text = (run / "labels.csv").read_text()
    (run / "labels.csv").write_text(text.replace(",1,", ",2,", 1))
    assert "checksum" in asked(run / "labels.csv", lambda: SavedRun(run).labels)
    (run / "labels.csv").write_text(text)
    assert SavedRun(run).labels.equals(before)


def test_json_without_a_checksum_is_taken_as_it_is(run):
    before = SavedRun(run).config
    (run / "config.json").write_text(json.dumps(before))
    assert SavedRun(run).config == before


def test_a_run_whose_settings_are_damaged_is_not_taken_for_data(run):
    (run / "config.json").write_bytes(bytes(512) + (run / "config.json").read_bytes()[512:])
    for look in (noise_report, audit.collect, plot.draw, lambda path: check_folder(path, resume=True)):
        asked(run / "config.json", lambda look=look: look(run))
    assert "config.json" in asked(run / "config.json", lambda: is_run(run))
