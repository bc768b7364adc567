"""What is said of a label by a network's answer and by p(clean) together."""

from __future__ import annotations

import numpy as np

from codivide.fit.judging import Judged, spared
from codivide.noise.evidence import Evidence


def seen(given, probs):
    return Evidence(given=given, mean_loss=np.zeros(len(given), np.float32), probs=probs.astype(np.float16))


def test_a_label_that_is_likely_right_stays_whatever_the_network_answers():
    rng = np.random.default_rng(0)
    given, suggested, clean_prob = rng.integers(-1, 3, 400), rng.integers(0, 3, 400), rng.beta(2, 1, 400)
    clean_prob[given < 0] = np.nan
    probs = rng.dirichlet(np.ones(3), 400)
    own = Judged(suggested, np.full(400, 0.9), clean_prob)
    found = spared(own, seen(given, probs))
    wrong = np.sort(1 - clean_prob[given >= 0])[::-1]  # the expected F1 of flagging the first k, of which half is asked
    doubt = max(wrong[:k].sum() / (k + wrong.sum()) for k in range(1, len(wrong) + 1))
    changed = 0
    for i in range(400):
        kept = given[i] >= 0 and clean_prob[i] >= 0.5 and 1 - clean_prob[i] < doubt and suggested[i] != given[i]
        changed += kept
        assert found.suggested[i] == (given[i] if kept else suggested[i])
        assert found.suggested_prob[i] == (np.float16(probs[i, given[i]]) if kept else 0.9)
    assert 0 < changed < (suggested != given).sum()
    assert (found.clean_prob[given >= 0] == clean_prob[given >= 0]).all()


def test_of_few_labels_the_network_has_the_last_word():
    given = np.zeros(60, dtype=np.int64)
    own = Judged(np.ones(60, dtype=np.int64), np.full(60, 0.9), np.full(60, 0.8))
    assert (spared(own, seen(given, np.full((60, 2), 0.5))).suggested == 1).all()
    assert spared(own, Evidence(given=given, mean_loss=np.zeros(60, np.float32))) is own
