"""The neighbours' vote: against loops, where heads cannot see what lies close together, and where it has no say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from codivide import Features, NoisyLabelClassifier, load_model
from codivide.data.rows import TensorRows
from codivide.methods.features import learn, neighbours, vote
from codivide.methods.features.table import Table


def circle(count: int, noise: float = 0.2, seed: int = 0) -> tuple[Any, Any, Any]:
    """Six heaps on a circle, of which a line gets four right; labels wrong by chance."""
    rng = np.random.default_rng(seed)
    heap = rng.integers(6, size=count)
    truth = np.array([0, 0, 1, 0, 1, 1])[heap]
    angle = heap * np.pi / 3 + rng.normal(0, 0.1, count)
    x = np.column_stack([np.cos(angle), np.sin(angle)])
    given = np.where(rng.random(count) < noise, 1 - truth, truth)
    return x.astype(np.float32), given, truth


def learned(x: Any, given: Any, *, counts: bool = True, **known: Any) -> learn.Learned:
    table = Table(x, torch.from_numpy(given), (0, 1), **known)
    return learn.learn(table, Features(heads="linear", vote=counts), 0)


def test_votes_are_counted_by_trust_and_never_those_that_are_not_there() -> None:
    near = torch.tensor([[1, 2, 3], [0, 3, -1], [3, 0, 1], [2, -1, -1]], dtype=torch.int32)
    given, trust = torch.tensor([0, 1, 1, 2]), torch.tensor([1.0, 0.5, 0.0, 0.25])
    found = neighbours.counted(near, given, 3, sizes=(1, 3), trust=trust)
    for row in range(4):
        for number, size in enumerate((1, 3)):
            expected = np.full(3, 1 / 3)
            for i in near[row, :size].tolist():
                if i >= 0:
                    expected[given[i]] += trust[i]
            assert np.allclose(found[number, row].numpy(), expected / expected.sum(), atol=1e-6)


def test_voters_are_those_of_a_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vote, "_AT_ONCE", 4)
    rng = np.random.default_rng(0)
    points, asked = (torch.from_numpy(rng.standard_normal((n, 5)).astype(np.float32)) for n in (30, 9))
    given, trust = torch.from_numpy(rng.integers(3, size=30)), torch.from_numpy(rng.random(30)).float()
    trust[:6] = 0.0
    voters = vote.Voters.of(points, given, trust, 7)
    assert len(voters.given) == 24
    found = voters.probs(asked, 3).numpy()
    unit = (points / points.norm(dim=1, keepdim=True)).half().float()
    for row in range(9):
        likeness = (unit @ asked[row]).masked_fill(trust == 0, -torch.inf)
        expected = np.full(3, 1 / 3)
        for i in likeness.argsort(descending=True)[:7].tolist():
            expected[given[i]] += float(trust[i])
        assert np.allclose(found[row], expected / expected.sum(), atol=1e-5)
    assert voters.probs(asked[:0], 3).shape == (0, 3)


def test_of_very_many_some_vote_always_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbours, "REFERENCE", 20)
    points = torch.randn(100, 4, generator=torch.Generator().manual_seed(0))
    voters = [vote.Voters.of(points, torch.arange(100) % 3, torch.ones(100), 5) for _ in range(2)]
    assert len(voters[0].given) == 20
    assert all(torch.equal(a, b) for a, b in zip(*(each.tensors() for each in voters), strict=True))


def test_it_sees_what_no_line_divides_and_leaves_p_clean_alone() -> None:
    x, given, truth = circle(800)
    new, _, wanted = circle(400, seed=1)
    with_vote, without = learned(x, given), learned(x, given, counts=False)
    told = with_vote.report["vote"]
    assert told["counts"]
    assert told["weight"] > 0.5
    assert told["gain"] > told["gain_standard_error"]
    assert "vote" not in without.report
    assert torch.equal(with_vote.clean_prob, without.clean_prob)
    assert torch.equal(with_vote.given_probs, without.given_probs)
    right = [float((each.model.predict(new).argmax(1).numpy() == wanted).mean()) for each in (with_vote, without)]
    assert right[0] > 0.95 > 0.9 > right[1]
    suggested = [float((each.suggested.numpy() == truth).mean()) for each in (with_vote, without)]
    assert suggested[0] >= suggested[1] > 0.95


def test_a_vote_that_tells_nothing_more_changes_no_bit() -> None:
    rng = np.random.default_rng(0)
    truth = rng.integers(2, size=400)
    x = (4.0 * np.eye(2, 3)[truth] + 0.3 * rng.standard_normal((400, 3))).astype(np.float32)
    with_vote, without = learned(x, truth), learned(x, truth, counts=False)
    assert not with_vote.report["vote"]["counts"]
    assert [member.kind for member in with_vote.model.members] == ["linear"]
    assert torch.equal(with_vote.probs, without.probs)


def test_what_a_sample_counts_and_what_is_confirmed_count_in_the_vote() -> None:
    x, given, truth = circle(400)
    confirmed = torch.from_numpy(given == truth)
    weight = torch.where(confirmed, 2.0, 0.5).double()
    found = learned(x, given, confirmed=confirmed, weight=weight)
    (member,) = [one for one in found.model.members if one.kind == vote.KIND]
    voters = vote.Voters(*member.tensors)
    assert torch.equal(voters.given, torch.from_numpy(given).int())
    torch.testing.assert_close(voters.trust[confirmed], torch.full_like(voters.trust[confirmed], 2.0))
    assert float(voters.trust[~confirmed].max()) <= 0.5


def test_a_saved_model_votes_alike(tmp_path: Path) -> None:
    x, given, _ = circle(600)
    new, _, _ = circle(50, seed=1)
    fitted = NoisyLabelClassifier(Features(heads="linear"), out=tmp_path / "run").fit(x, given)
    assert vote.KIND in [member.kind for member in fitted.model_.members]
    saved = load_model(tmp_path / "run" / "model.safetensors")
    assert np.array_equal(saved.probs(TensorRows(torch.from_numpy(new))), fitted.predict_proba(new))
