"""An encoder of the user's own: a function, a torch module, a transformer of scikit-learn."""

import json

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.feature_extraction.text import CountVectorizer
from torch import nn

from codivide import NoisyLabelClassifier, load_model
from codivide.audit.material import from_run
from codivide.core.errors import InputError, TrainingWarning

TEXTS = ["red apple", "blue sea", "red fire", "blue sky"] * 10
Y = ["red", "blue"] * 20


def first_letter(texts):
    assert isinstance(texts, list)
    return np.array([[text[0] == "r", len(text)] for text in texts], dtype=float)


def colours(images):
    assert images.dtype == np.uint8
    return images.mean((1, 2))


class Colours(nn.Module):
    def forward(self, x):
        assert not self.training
        assert float(x.max()) <= 1
        return x.mean((2, 3))


def photos():
    x = np.random.default_rng(0).integers(0, 120, (40, 12, 12, 3))
    x[::2, ..., 0] += 100
    x[1::2, ..., 2] += 100
    return x.astype(np.uint8)


@pytest.mark.parametrize("encoder", [first_letter, CountVectorizer()])
def test_texts(encoder):
    found = clone(NoisyLabelClassifier("features", encoder=encoder)).fit(TEXTS, Y)
    assert found.predict(["red rose", "blue bell"]).tolist() == ["red", "blue"]
    assert found.model_.encoder.takes == "text"


@pytest.mark.parametrize("encoder", [colours, Colours()])
def test_images(encoder, tmp_path):
    x = photos()
    found = NoisyLabelClassifier(encoder=encoder, out=tmp_path / "run").fit(x, Y)
    assert (found.predict(x) == Y).all()
    rows = found.model_.encoder.encode(torch.from_numpy(x).permute(0, 3, 1, 2))
    scale = 255 if isinstance(encoder, nn.Module) else 1
    assert np.allclose(rows[torch.arange(40)], x.mean((1, 2)) / scale, atol=1e-4)
    name = json.loads((tmp_path / "run" / "config.json").read_text())["encoder"]
    assert name in ("own:colours", "own:Colours")
    saved = load_model(tmp_path / "run" / "model.safetensors")
    assert saved.encoder.shape == (3, 12, 12)
    with pytest.raises(InputError, match=r"encoder of your own \(own:[cC]olours\)"):
        saved.encoder.encode(torch.from_numpy(x).permute(0, 3, 1, 2))
    saved.encoder.part = encoder
    probs = saved.probs(saved.encoder.encode(torch.from_numpy(x).permute(0, 3, 1, 2)))
    assert np.asarray(saved.classes)[probs.argmax(1)].tolist() == Y


def test_a_run_of_files_is_audited_with_its_pictures(tmp_path):
    from PIL import Image

    for row, (image, name) in enumerate(zip(photos(), Y, strict=True)):
        (tmp_path / "photos" / name).mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(tmp_path / "photos" / name / f"{row}.png")
    NoisyLabelClassifier(encoder=colours, out=tmp_path / "run").fit(str(tmp_path / "photos"))
    found = from_run(tmp_path / "run")
    assert found.rows.shape == (3, 12, 12)
    assert found.points is None
    assert any("neighbours are not known" in remark for remark in found.remarks)


@pytest.mark.parametrize(
    ("encoder", "x", "message"),
    [
        (3, TEXTS, "give a name, a function"),
        (lambda texts: [1.0] * len(texts), TEXTS, r"gave shape \(40,\) for 40 samples"),
        (lambda texts: np.full((len(texts), 2), np.nan), TEXTS, "NaN or infinite"),
        (lambda texts: [[1.0] * (1 + k % 2) for k in range(len(texts))], TEXTS, "unequal rows"),
        (CountVectorizer().fit_transform, TEXTS, "2 features for some samples and 6 for others"),
        (lambda texts: np.ones((len(texts), 2 + (len(texts) % 1024 > 1))), TEXTS * 30, "2 features for some"),
        (CountVectorizer(), photos(), "a transformer, which takes texts"),
        ("own:colours", photos(), "somebody's own function"),
    ],
)
def test_what_is_refused(encoder, x, message):
    with pytest.raises(InputError, match=message):
        NoisyLabelClassifier("features", encoder=encoder).fit(x, Y)


def test_an_encoder_that_looks_at_the_other_samples_is_said():
    with pytest.warns(TrainingWarning, match="other features for a sample alone than among others"):
        NoisyLabelClassifier("features", encoder=lambda texts: first_letter(texts) - first_letter(texts).mean(0)).fit(
            TEXTS, Y
        )
