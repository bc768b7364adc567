"""What is made of the answer of pip-audit."""

import json
import re
from pathlib import Path

from tests import holes


def answer(*rows):
    return json.dumps({"dependencies": list(rows), "fixes": []})


WHOLE = {"name": "pillow", "version": "11.0", "vulns": []}
SKIPPED = {"name": "torch", "skip_reason": "Dependency not found on PyPI and could not be audited: torch (2.15.0)"}
HOLE = {"id": "PYSEC-1", "fix_versions": ["12.1", "13"], "aliases": [], "description": "a bomb"}


def test_a_hole_is_named_and_ends_with_1():
    said, code = holes.judged(answer(WHOLE | {"vulns": [HOLE, HOLE | {"id": "PYSEC-2", "fix_versions": []}]}, SKIPPED))
    assert code == 1
    assert "pillow 11.0: PYSEC-1, mended in 12.1, 13\n" in said
    assert "pillow 11.0: PYSEC-2, mended in no version yet\n" in said


def test_what_the_index_does_not_know_is_said():
    assert holes.judged(answer(WHOLE, SKIPPED)) == ("known holes: 0; the index knows 1 of 2 packages", 0)


def test_an_index_that_does_not_answer_is_said_and_stops_nobody():
    said, code = holes.judged("", "Traceback\nConnectionError: no route to pypi.org\n")
    assert (said, code) == ("known holes were not looked up: ConnectionError: no route to pypi.org", 0)
    assert holes.judged("")[1] == 0


def test_make_lint_asks():
    makefile = (Path(holes.PINS).parent / "Makefile").read_text(encoding="utf-8")
    recipe = re.search(r"^lint:.*\n((?:\t.*\n)+)", makefile, re.MULTILINE)
    assert recipe is not None
    assert "-m tests.holes" in recipe.group(1)
