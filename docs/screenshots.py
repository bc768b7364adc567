"""The pictures of the audit page in the documentation: a short run on Fashion-MNIST with 30 % wrong labels.

``CODIVIDE_DATA=folder python docs/screenshots.py`` trains, makes the report and photographs it with
the system's Chromium. Fashion-MNIST is under the MIT licence, which lets its pictures be shown here.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

IMAGES = Path(__file__).parent / "images"
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
FIT = "fit fashion_mnist --limit 4000 --noise symmetric:0.3 --net small_cnn --method elr --epochs 12 --seed 0"


def codivide(*words: str | Path) -> None:
    """Run a command of codivide; what it says is shown."""
    subprocess.run([sys.executable, "-m", "codivide.cli.app", *map(str, words)], check=True)


def photograph(page: Page, folder: Path) -> None:
    """Summary and queue of an opened report."""
    page.wait_for_selector("html[data-ready]")
    page.wait_for_timeout(500)  # small pictures of the list
    page.screenshot(path=folder / "audit_summary.png")
    page.evaluate("document.getElementById('queue').scrollIntoView({behavior: 'instant'})")
    for key in ("a", "a", "k", "a"):
        page.keyboard.press(key)
    page.wait_for_timeout(500)
    page.screenshot(path=folder / "audit_queue.png")


def main() -> None:
    """Train, report, photograph."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", type=Path, help="take this finished run in place of a new one")
    parser.add_argument("--out", type=Path, default=IMAGES)
    given = parser.parse_args()
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        sys.exit("there is no Chromium; Debian: apt-get install chromium")
    with tempfile.TemporaryDirectory() as temporary:
        run = given.run or Path(temporary) / "run"
        if given.run is None:
            codivide(*FIT.split(), "--out", run)
        report = Path(temporary) / "report.html"
        codivide("audit", run, "--out", report)
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
            page = browser.new_page(viewport={"width": 1280, "height": 1000}, reduced_motion="reduce")
            page.goto(report.as_uri())
            photograph(page, given.out)
            browser.close()


if __name__ == "__main__":
    main()
