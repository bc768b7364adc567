"""Known holes of the pinned packages: ``python -m tests.holes`` asks pip-audit, and ``make lint`` runs it.

A hole ends with 1 and names the version that mends it. An index that does not answer, or does not know the pinned
versions (as mirrors do not), is said and ends with 0: nothing can be looked up there.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

PINS = Path(__file__).parents[1] / "constraints.txt"
_LONGEST = 120  # seconds
_ASK = ("-r", str(PINS), "--no-deps", "--disable-pip", "--format", "json", "--progress-spinner", "off")


def judged(answer: str, said: str = "") -> tuple[str, int]:
    """What to say of pip-audit's JSON (empty: it gave none, only what it ``said``), and how to end."""
    try:
        rows = json.loads(answer)["dependencies"]
    except ValueError:
        why = (said.strip().splitlines() or ["it gave no answer"])[-1]
        return f"known holes were not looked up: {why[:200]}", 0
    holes = [
        f"{row['name']} {row['version']}: {hole['id']}, mended in {', '.join(hole['fix_versions']) or 'no version yet'}"
        for row in rows
        for hole in row.get("vulns", ())
    ]
    known = sum("vulns" in row for row in rows)
    return "\n".join([*holes, f"known holes: {len(holes)}; the index knows {known} of {len(rows)} packages"]), int(
        bool(holes)
    )


def main() -> None:
    """Ask, print and end."""
    asked = [sys.executable, "-m", "pip_audit", *_ASK, "--timeout", "15"]
    try:
        done = subprocess.run(asked, capture_output=True, text=True, check=False, timeout=_LONGEST)
        text, code = judged(done.stdout, done.stderr)
    except subprocess.TimeoutExpired:
        text, code = judged("", f"the index did not answer in {_LONGEST} s")
    print(text)
    sys.exit(code)


if __name__ == "__main__":
    main()
