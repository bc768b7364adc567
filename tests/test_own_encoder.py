"""An encoder of the user's own: a function, a torch module, a transformer of scikit-learn, or embeddings."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.sparse import csr_matrix
from sklearn.base import clone
from sklearn.decomposition import PCA
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
    saved = load_model(tmp_path / "run", encoder=encoder)
    assert np.asarray(saved.classes)[saved.probs(x).argmax(1)].tolist() == Y
    again = NoisyLabelClassifier(encoder=encoder, out=tmp_path / "run", resume=True).fit(x, Y)
    assert (again.predict(x) == Y).all()  # a finished run is read, and no file holds the encoder


def test_a_torch_module_takes_no_texts():
    with pytest.raises(InputError, match="'own:Colours' is a torch module, which takes images, but the samples are te"):
        NoisyLabelClassifier(encoder=Colours()).fit(["a b", "c d"] * 20, Y)


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
        (np.ones((39, 2)), photos(), "embeddings of 39 samples, and there are 40"),
        (np.ones((40, 2)), np.ones((40, 2)), "holds numbers, which need none"),
        (np.full((40, 2), np.nan), TEXTS, "NaN or infinite"),
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


def embeddings():
    return np.random.default_rng(0).normal(0, 0.1, (40, 3)) + np.eye(2, 3)[[0, 1] * 20]


@pytest.mark.parametrize("kind", [np.asarray, torch.from_numpy, csr_matrix, pd.DataFrame])
@pytest.mark.parametrize("x", [[f"{text} {row}" for row, text in enumerate(TEXTS)], photos()])
def test_embeddings_are_learned_from_and_their_samples_shown(kind, x, tmp_path):
    given = embeddings()
    found = NoisyLabelClassifier(encoder=kind(given), out=tmp_path / "run").fit(x, ["blue", *Y[1:]])
    assert (found.predict(given) == Y).all()
    with pytest.raises(InputError, match=r"made of embeddings of your own: give those of the new samples, \[N, 3\]"):
        found.predict(x)
    page = found.audit().report(tmp_path / "page.html").read_text()
    assert (x[0] if isinstance(x, list) else "data:image") in page
    saved = load_model(tmp_path / "run")
    assert np.asarray(saved.classes)[saved.probs(given).argmax(1)].tolist() == Y
    with pytest.raises(InputError, match="leave encoder out"):
        load_model(tmp_path / "run", encoder=given)


def test_a_run_of_other_embeddings_is_not_gone_on_with(tmp_path):
    NoisyLabelClassifier(encoder=embeddings(), out=tmp_path / "run").fit(TEXTS, Y)
    with pytest.raises(InputError, match="encoder is own:embeddings"):
        NoisyLabelClassifier(encoder=embeddings() + 1, out=tmp_path / "run", resume=True).fit(TEXTS, Y)


def test_embeddings_do_not_fit_files_whose_order_nobody_gave(tmp_path):
    with pytest.raises(InputError, match="rows belong to samples by their order"):
        NoisyLabelClassifier(encoder=embeddings()).fit(str(tmp_path))


def test_a_transformer_takes_images_as_rows(tmp_path):
    found = NoisyLabelClassifier(encoder=PCA(3), out=tmp_path / "run").fit(photos(), Y)
    assert (found.predict(photos()) == Y).all()
    assert found.model_.encoder.part.n_features_in_ == 12 * 12 * 3
    with pytest.raises(InputError, match="not fitted"):
        load_model(tmp_path / "run", encoder=PCA(3))
    with pytest.raises(InputError, match="is own:PCA, and own:Colours was given"):
        load_model(tmp_path / "run", encoder=Colours())
    saved = load_model(tmp_path / "run", encoder=found.model_.encoder.part)
    assert np.asarray(saved.classes)[saved.probs(photos()).argmax(1)].tolist() == Y


def test_a_known_encoder_needs_none_of_the_users(tmp_path):
    NoisyLabelClassifier("features", out=tmp_path / "run").fit(TEXTS, Y)
    with pytest.raises(InputError, match="needs no encoder of your own"):
        load_model(tmp_path / "run", encoder=first_letter)
