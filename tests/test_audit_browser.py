"""The audit page in a real browser (headless Chromium): decisions, hostile input, accessibility, amount of work."""

import base64
import csv
import functools
import io
import json
import os
import re
import shutil
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import torch
from data_facts import example_facts
from PIL import Image
from test_audit_facts import make_folder, make_run

from codivide.audit import facts, render, serve
from codivide.data import corrections
from codivide.data.corrections import Known

pytestmark = pytest.mark.browser
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--enable-precise-memory-info",
]
# Set before anything of the page runs: what its policy stopped, and how many nodes it made.
WATCH = """
window.violations = [];
document.addEventListener("securitypolicyviolation",
  (event) => window.violations.push(`${event.violatedDirective} ${event.blockedURI}`));
window.made = 0;
new MutationObserver((list) => { for (const change of list) window.made += change.addedNodes.length; })
  .observe(document, {childList: true, subtree: true});
"""


@pytest.fixture(scope="module")
def browser() -> Iterator:
    """One Chromium for all tests here, with an empty profile of its own."""
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if found is None:
        if os.environ.get("CODIVIDE_BROWSER_REQUIRED"):
            raise RuntimeError("CODIVIDE_BROWSER_REQUIRED is set, and there is no Chromium")
        pytest.skip("there is no Chromium (Debian: apt-get install chromium)")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=found, args=FLAGS)
        yield running
        running.close()


@dataclass
class Opened:
    """A page, and what a browser had to say of it."""

    page: object
    said: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    def __getattr__(self, name):
        return getattr(self.page, name)

    def press(self, *keys: str) -> None:
        for key in keys:
            self.page.keyboard.press(key)

    def until(self, expression: str, seconds: float = 10) -> None:
        """Wait until the expression holds; the page's policy forbids the browser driver's own way, which evaluates."""
        for _ in range(int(seconds * 50)):
            if self.page.evaluate(expression):
                return
            self.page.wait_for_timeout(20)
        raise AssertionError(f"never came true: {expression}")

    def title(self) -> str:
        return self.page.inner_text("#card-title")

    def fact(self, name: str) -> str:
        return self.page.locator("#card-body .facts > div", has_text=name).first.locator("dd").inner_text()

    def corrections(self, folder: Path) -> list[dict[str, str]]:
        with self.page.expect_download() as waiting:
            self.page.click("#download")
        assert waiting.value.suggested_filename == "corrections.csv"
        waiting.value.save_as(folder / "corrections.csv")
        with open(folder / "corrections.csv", encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file, strict=True))

    def to_queue(self) -> None:
        self.page.evaluate("document.getElementById('card').scrollIntoView({behavior: 'instant'})")

    def clean(self, *files: Path) -> None:
        """Nothing was said, stopped or asked for but the report's own files."""
        assert self.said == []
        assert self.page.evaluate("window.violations") == []
        assert self.page.evaluate("window.hacked") is None
        assert set(self.asked) <= {path.as_uri() for path in files}


@pytest.fixture
def show(browser) -> Iterator[Callable[..., Opened]]:
    """Open an address in a context of its own: no storage, no cache."""
    contexts = []

    def opening(address: str | Path, context=None, script: str = "", **options) -> Opened:
        if context is None:
            context = browser.new_context(
                **{"viewport": {"width": 1280, "height": 900}, "reduced_motion": "reduce"} | options
            )
            contexts.append(context)
        opened = Opened(context.new_page())
        opened.page.add_init_script(WATCH + script)
        opened.page.on("console", lambda message: opened.said.append(message.text))
        opened.page.on("pageerror", lambda error: opened.said.append(str(error)))
        opened.page.on("request", lambda r: r.url.startswith("data:") or opened.asked.append(r.url))
        opened.page.goto(address.as_uri() if isinstance(address, Path) else address)
        opened.page.wait_for_selector("html[data-ready]")
        return opened

    yield opening
    for context in contexts:
        context.close()


def written(folder: Path, *args, **facts_options) -> tuple[Path, dict]:
    facts = example_facts(*args, **facts_options)
    return render.write(facts, folder / "report.html")[0], facts


def unguard(cell: str) -> str:
    return cell[1:] if cell[:1] == "'" and cell.lstrip("'")[:1] in tuple("=+-@\t\r") else cell


def test_decide_reload_download(show, tmp_path):
    path, facts = written(tmp_path, 40)
    classes, issues = facts["classes"], facts["issues"]
    page = show(path)
    assert "0 of 40 checked" in page.inner_text("#progress-text")
    expected = round(sum(1 - issue["clean_prob"] for issue in issues))
    assert f"about {expected} are worth checking" in page.inner_text("#progress-text")
    page.to_queue()
    page.press("a", "k")
    page.press("c")
    page.keyboard.type("frog")
    page.press("Enter")
    page.press("j", "j", "u")  # the second junk is taken back
    assert page.title().startswith("5 of 40")
    assert "4 of 40 checked" in page.inner_text("#progress-text")
    left = round(sum(1 - issue["clean_prob"] for issue in issues[4:]))
    assert f"about {left} are worth checking" in page.inner_text("#progress-text")
    again = show(path, page.context)
    assert "4 of 40 checked" in again.inner_text("#progress-text")
    assert again.title().startswith("5 of 40")  # the first that is open
    rows = again.corrections(tmp_path)
    assert [(r["id"], r["given"], r["decision"], r["label"]) for r in rows] == [
        (issues[0]["id"], classes[0], "accept", classes[issues[0]["suggested"]]),
        (issues[1]["id"], classes[1], "keep", classes[1]),
        (issues[2]["id"], classes[2], "relabel", "frog"),
        (issues[3]["id"], classes[3], "junk", ""),
    ]
    assert all(r["time"].endswith("Z") for r in rows)
    again.to_queue()
    again.press("u")  # also what was decided before the reload
    assert "3 of 40 checked" in again.inner_text("#progress-text")
    assert len(again.corrections(tmp_path)) == 3
    page.clean(path)
    again.clean(path)


def test_the_report_of_a_real_run(show, tmp_path):
    make_folder(tmp_path / "shapes")
    torch.manual_seed(0)
    run = make_run(tmp_path / "shapes", tmp_path / "run")
    collected = facts.collect(run)
    page = show(render.write(collected, tmp_path / "report.html")[0])
    first = collected["issues"][0]
    assert page.fact("Name") == first["id"]
    assert page.page.locator(".enlarge img").evaluate("image => image.complete && image.naturalWidth") == 12
    page.to_queue()
    page.press("a")
    (row,) = page.corrections(tmp_path)
    assert (row["id"], row["label"]) == (first["id"], collected["classes"][first["suggested"]])
    panels = page.page.locator(".panel h3").all_inner_texts()
    assert panels[:4] == ["The data as a whole", "By class", "Losses", "While it learned"]
    assert "twin.png" in page.page.locator(".panel").first.inner_text()  # one picture with two labels
    page.clean(tmp_path / "report.html")


def test_a_number_and_its_percent_sign_stay_on_one_line(show, tmp_path):
    facts = example_facts(5)
    facts["noise"]["trust"] = {"level": "fair", "reasons": ["The interval is 14.4 % wide."]}
    facts |= {"choices": ["40 % seem wrong"], "findings": [{"check": "a", "title": "A", "text": "5 % of these"}]}
    text = show(render.write(facts, tmp_path / "report.html")[0]).inner_text("body")
    for said in ("is 14.4\u00a0% wide", "40\u00a0% seem wrong", "5\u00a0% of these"):
        assert said in text
    assert re.findall(r"\d %", text) == []


def test_samples_of_any_kind_are_checked_with_the_same_keys(show, tmp_path):
    facts = example_facts(5)
    sample = facts["outliers"][0] | {"row": 400, "id": "dark/400.png", "given": 2, "suggested": 2}
    both = sample | {"row": facts["issues"][1]["row"], "id": facts["issues"][1]["id"], "given": 1}
    unlabelled = sample | {"row": 401, "id": "none.png", "given": -1}
    check = {"name": "dark", "title": "Dark images", "text": "Dark.", "found": 3, "samples": [sample, both, unlabelled]}
    page = show(render.write(facts | {"checks": [check]}, tmp_path / "report.html")[0])
    assert page.page.locator("#kind option").all_inner_texts() == [
        "labels that look wrong (5)",
        "Outliers (5)",
        "Dark images (2)",
    ]
    page.to_queue()
    page.press("a")
    assert "1 of 5 checked" in page.page.inner_text("#progress-text")
    page.page.get_by_role("button", name="Check these 2 in the queue").click()
    page.until("document.getElementById('kind').value === 'dark'")
    assert page.fact("Name") == "dark/400.png"
    assert page.fact("Found as") == "Dark images"
    assert page.page.locator("#accept").is_hidden()  # the suggestion is the given label
    assert page.page.locator("#card-body .examples").count() == 0
    assert page.page.inner_text("#progress-text") == "0 of 2 checked."
    page.to_queue()
    page.press("j")
    page.until("document.querySelector('#progress-text').textContent.startsWith('1 of 2')")
    assert page.fact("Name") == facts["issues"][1]["id"]
    page.press("v", "v")
    page.until("document.getElementById('kind').value === 'outliers'")
    page.to_queue()
    page.press("a")  # accepting what is given keeps it
    rows = page.corrections(tmp_path)
    assert [(row["id"], row["decision"]) for row in rows] == [
        (facts["issues"][0]["id"], "accept"),
        (facts["outliers"][0]["id"], "keep"),
        ("dark/400.png", "junk"),
    ]
    page.clean(tmp_path / "report.html")
    said = page.page.locator(".panel", has=page.page.locator("h3", has_text="The data as a whole")).inner_text()
    assert "labels follow the order of the rows" in said.lower()


def test_line_breaks_in_a_cell_stay_and_are_no_marks(show, tmp_path):
    facts = example_facts(2)
    written = "Hello,\r\n\r\nthe box is broken.\nRegards\a"
    facts["issues"] = [issue | {"text": None, "fields": [["Message", written]]} for issue in facts["issues"]]
    page = show(render.write(facts, tmp_path / "report.html")[0])
    cell = page.page.locator("#card-body td")
    assert cell.inner_text() == "Hello,\n\nthe box is broken.\nRegards\N{SYMBOL FOR BELL}"  # others stay in view
    line = page.page.locator("#rows .line-id").first
    assert line.inner_text() == "Hello, the box is broken. Regards\N{SYMBOL FOR BELL}"
    page.clean(tmp_path / "report.html")


def test_a_kind_of_issue_without_a_panel_of_its_own_has_a_general_one(show, tmp_path):
    facts = example_facts(5)
    sample = facts["outliers"][0] | {"row": 3, "id": "three<b>", "given": 0, "thumbnail": None, "text": "few words"}
    del sample["score"]
    check = {"name": "short", "title": "Short texts", "text": "Texts of few words.", "found": 2, "samples": [sample]}
    nothing = check | {"title": "Nothing", "found": 0, "samples": []}
    page = show(render.write(facts | {"checks": [check, nothing]}, tmp_path / "report.html")[0])
    titles = page.page.locator(".panel h3").all_inner_texts()
    assert titles.index("Short texts") == titles.index("Outliers") + 1
    assert "Nothing" not in titles
    box = page.page.locator(".panel", has=page.page.locator("h3", has_text="Short texts"))
    said = box.inner_text()
    assert "Texts of few words. 2 samples." in said
    assert "three<b>" in said
    assert "few words" in said
    assert "score" not in said
    assert "score" in page.page.locator(".panel", has=page.page.locator("h3", has_text="Outliers")).inner_text()
    page.clean(tmp_path / "report.html")


def test_buttons_steps_filters_order_and_search(show, tmp_path):
    path, facts = written(tmp_path, 90)
    issues = facts["issues"]
    page = show(path)
    page.to_queue()
    page.press("n", "ArrowRight", "p")
    assert page.title().startswith("2 of 90")
    page.click("#previous")
    assert page.fact("Name") == issues[0]["id"]
    page.click("#keep")
    page.select_option("#filter-status", "open")
    assert page.title().startswith("1 of 89")
    page.press("Home")  # in the list box of the filter: no decision, no step
    page.click("#clear")
    page.select_option("#sort", "sure")
    surest = max(issues, key=lambda issue: issue["suggested_prob"] or -1)
    page.locator("#list").press("Home")
    assert page.fact("Name") == surest["id"]
    page.fill("#search", issues[7]["id"].upper())
    page.until("document.querySelector('#found').textContent === '1 shown'")
    assert page.fact("Name") == issues[7]["id"]
    page.fill("#search", "no such thing")
    page.wait_for_selector("#nothing:not([hidden])")
    assert not page.is_visible("#card")
    page.click("#clear")
    pair = facts["pairs"][0]
    many = [i for i in issues if (i["given"], i["suggested"]) == (pair["given"], pair["suggested"])]
    page.focus(".heatmap button")
    page.press("ArrowRight", "ArrowLeft", "Enter")
    assert page.locator(".heatmap [aria-pressed=true]").count() == 1
    assert page.inner_text("#found") == f"{len(many)} shown"
    page.locator(".heatmap [aria-pressed=true]").press("Enter")
    assert page.inner_text("#found") == "90 shown"
    page.clean(path)


def test_keys_are_left_to_those_who_type_and_decide_only_on_what_is_seen(show, tmp_path):
    path, _ = written(tmp_path, 20)
    page = show(path)
    page.press("a")  # the summary is in view: the card comes into view, nothing is decided
    assert "0 of 20" in page.inner_text("#progress-text")
    assert "Press the key again" in page.inner_text("#live")
    page.focus("#search")
    page.keyboard.type("akjcu?n")
    assert page.input_value("#search") == "akjcu?n"
    page.click("#clear")
    page.press("Control+a", "Alt+k")
    assert "0 of 20" in page.inner_text("#progress-text")
    page.press("?")
    assert page.is_visible("#help")
    page.press("a")  # a dialog is open
    page.uncheck("#keys-on")
    page.press("Escape")
    page.press("a")
    assert "0 of 20" in page.inner_text("#progress-text")
    page.click("#help-open")
    page.check("#keys-on")
    page.click("#help [data-close]")
    page.to_queue()
    page.press("a")
    assert "1 of 20" in page.inner_text("#progress-text")


def test_choosing_the_given_or_the_suggested_class_is_keeping_or_accepting(show, tmp_path):
    path, facts = written(tmp_path, 5)
    page = show(path)
    page.to_queue()
    for name in ("given", "suggested"):
        page.click("#choose")
        page.keyboard.type(facts["classes"][facts["issues"][name == "suggested"][name]])
        page.press("Enter")
    page.click("#choose")
    page.press("Escape")
    assert page.evaluate("document.activeElement.id") == "choose"
    assert [row["decision"] for row in page.corrections(tmp_path)] == ["keep", "accept"]


def test_a_new_class_is_typed_kept_and_offered_again(show, tmp_path):
    path, facts = written(tmp_path, 10)
    page = show(path)
    page.to_queue()
    page.press("c")
    page.keyboard.type(facts["classes"][0].upper())  # a class but for case is no new one
    assert page.locator("#chooser-list [role=option]").all_inner_texts() == [facts["classes"][0]]
    page.fill("#chooser-text", " zebra  crossing ")
    assert page.locator("#chooser-list [role=option]").all_inner_texts() == ["New class: zebra crossing"]
    assert "--new-classes" in page.inner_text("#chooser-more")
    page.press("Enter")
    assert "another class: zebra crossing" in page.inner_text("#live")
    again = show(path, page.context)
    again.to_queue()
    assert "1 of 10 checked" in again.inner_text("#progress-text")
    again.press("c")
    again.keyboard.type("zeb")  # and is offered, before the new class that "zeb" would be
    assert again.locator("#chooser-list [role=option]").all_inner_texts() == ["zebra crossing", "New class: zeb"]
    again.press("ArrowDown", "Enter")
    for wrong in ("x" * 101, "a\u202eb", "   "):
        again.press("c")
        again.fill("#chooser-text", wrong)
        assert "New class" not in again.inner_text("#chooser-list")
        again.press("Escape")
    rows = again.corrections(tmp_path)
    assert [(row["decision"], row["label"]) for row in rows] == [("relabel", "zebra crossing"), ("relabel", "zeb")]
    found = corrections.read(tmp_path / "corrections.csv")
    names, issues = facts["classes"], facts["issues"]
    given = [names[issue["given"]] for issue in issues]
    found.check(Known.of([issue["id"] for issue in issues], given, names, new_classes=True))
    again.clean(path)


def test_a_server_decides_whether_classes_may_be_new(show, tmp_path, browser):
    facts = example_facts(3)
    context = browser.new_context()
    address = "http://127.0.0.1:9/secret/"
    for allowed, shown in ((False, ""), (True, "New class: zebra")):
        served = {"token": "secret", "new_classes": allowed}
        html = render.page(facts, served)

        def answer(route, request, html=html):
            route.fulfill(body=html if request.url == address else "[]", content_type="text/html")

        context.route("http://127.0.0.1:9/**", answer)
        page = show(address, context)
        page.to_queue()
        page.press("c")
        page.keyboard.type("zebra")
        assert page.inner_text("#chooser-list").strip() == shown
        assert "--new-classes" in page.inner_text("#chooser-more")
    context.close()


def test_many_suggestions_are_accepted_at_once_and_undone_at_once(show, tmp_path):
    path, facts = written(tmp_path, 270)
    issues, pair = facts["issues"], max(facts["pairs"], key=lambda pair: pair["count"])
    page = show(path)
    page.to_queue()
    page.press("k")  # the first is decided: it stays as it is
    page.select_option("#filter-given", str(pair["given"]))
    page.select_option("#filter-suggested", str(pair["suggested"]))
    page.to_queue()
    page.press("b")
    shown = [i for i in issues if (i["given"], i["suggested"]) == (pair["given"], pair["suggested"])]
    limit = sorted(issue["clean_prob"] for issue in shown)[-1]
    page.fill("#many-below", str(limit))
    chosen = [i for i in shown if i["clean_prob"] < limit and i is not issues[0]]
    assert 0 < len(chosen) < len(shown)
    names = facts["classes"]
    which = page.inner_text("#many-which")
    assert f"given {names[pair['given']]}, suggested {names[pair['suggested']]}" in which
    assert f"{len(chosen)} are not checked yet" in which
    right = sum(i["suggested_prob"] for i in chosen if i["suggested_prob"] is not None)
    known = sum(i["suggested_prob"] is not None for i in chosen)
    assert f"about {100 * right / known:.0f}\u00a0% of these" in page.inner_text("#many-sure")
    page.press("Enter")
    assert not page.is_visible("#many")
    assert f"{len(chosen)} suggestion" in page.inner_text("#live")
    rows = {row["id"]: row for row in page.corrections(tmp_path)}
    assert {row["decision"] for name, row in rows.items() if name != issues[0]["id"]} == {"accept"}
    assert set(rows) == {issues[0]["id"], *(i["id"] for i in chosen)}
    assert all(rows[i["id"]]["label"] == names[i["suggested"]] for i in chosen)
    again = show(path, page.context)
    assert f"{1 + len(chosen)} of 270 checked" in again.inner_text("#progress-text")
    page.press("u")
    assert [row["id"] for row in page.corrections(tmp_path)] == [issues[0]["id"]]
    page.press("u")
    assert page.inner_text("#progress-text").startswith("0 of 270")
    page.click("#clear")
    page.click("#many-open")
    page.fill("#many-below", "0")
    assert page.is_disabled("#many-accept")
    page.press("Enter")  # nothing is decided
    for misread in ("5", "5%", "005", "-1", "", "0,5,1"):  # once 5, which is above every probability
        page.fill("#many-below", misread)
        assert page.is_disabled("#many-accept"), misread
        assert "from 0 to 1" in page.inner_text("#many-which")
    page.fill("#many-below", f"{limit}".replace(".", ","))
    assert not page.is_disabled("#many-accept")
    page.fill("#many-below", "1")
    page.click("#many-accept")
    assert page.inner_text("#progress-text").startswith("270 of 270")
    page.clean(path)


def test_an_undo_of_many_leaves_what_another_tab_has_changed(show, tmp_path):
    path, facts = written(tmp_path, 4)
    first = show(path)
    second = show(path, first.context)
    first.to_queue()
    first.press("k", "b")
    first.fill("#many-below", "1")
    first.press("Enter")
    second.until("document.querySelector('#progress-text').textContent.startsWith('4 of 4')")
    second.to_queue()
    second.page.locator("#list").press("Home")
    second.press("ArrowDown")
    second.to_queue()
    second.press("j")
    first.until("document.querySelector('#rows').textContent.includes('junk')")
    first.press("u")
    decided = {row["id"]: row["decision"] for row in first.corrections(tmp_path)}
    assert decided == {facts["issues"][0]["id"]: "keep", facts["issues"][1]["id"]: "junk"}


def test_a_long_name_is_shown_by_its_end(show, tmp_path):
    facts = example_facts(1)
    facts["issues"][0] |= {"id": "Schiff groß/Serie 1/Aufnahme 0054.png", "text": None}
    facts["outliers"][0] |= {"id": "Schiff groß/Serie 1 bis 3/Aufnahme 0388.png", "text": None}
    page = show(render.write(facts, tmp_path / "a.html")[0])
    page.to_queue()
    assert page.page.locator(".line-id").first.inner_text() == "…rie 1/Aufnahme 0054.png"
    caption = page.page.locator(".panel", has=page.page.locator("h3", has_text="Outliers")).locator("li").first
    assert "Aufnahme 0388.png" in caption.inner_text()


def test_annotators_who_count_once_or_answered_nothing_are_told(show, tmp_path):
    facts = example_facts(1)
    scores = {"test_accuracy": 0.9, "test_balanced_accuracy": 0.61, "test_macro_f1": 0.58}
    facts["curves"] = [{"epoch": 1, "loss": 1.0, **scores}]
    render.write(facts, tmp_path / "a.html")
    page = show(tmp_path / "a.html")
    rows = page.page.locator("section.panel", has_text="Annotators").locator("tbody tr").all_inner_texts()
    assert len(rows) == 3
    assert "counts once with cem" in rows[0]
    assert "0 answers" in rows[-1]
    assert "balanced accuracy 61" in page.page.inner_text("body")


def test_the_bar_of_a_label_is_as_long_as_its_rate(show, tmp_path):
    facts = example_facts(1)
    label = {"name": "a", "given": 30, "added": 1, "removed": 2, "rate": 0.07}
    facts["targets"] = {"kind": "multilabel", "separator": ";", "names": ["a"], "labels": [label]}
    render.write(facts, tmp_path / "a.html")
    page = show(tmp_path / "a.html")
    widths = page.evaluate("[...document.querySelectorAll('td .fill')].map((one) => one.style.width)")
    assert "7%" in [width.replace("7.000000000000001", "7") for width in widths]


def test_models_that_follow_each_other_are_no_curve(show, tmp_path):
    facts = example_facts(1)
    facts["curves"] = [{"epoch": 1, "round": "linear", "loss": 1.0}, {"epoch": 2, "round": "mlp", "loss": 2.0}]
    render.write(facts, tmp_path / "a.html")
    assert "While it learned" not in show(tmp_path / "a.html").page.inner_text("body")


@pytest.mark.parametrize("kind", ["image", "text", "row"])
def test_hostile_names_run_nothing(show, tmp_path, kind):
    path, facts = written(tmp_path, 40, kind, True)
    page = show(path)
    page.to_queue()
    for key in ("a", "k", "j", "a", "k", "a", "k", "a", "k", "a", "k", "a") * 2:
        page.press(key)
    page.press("c")
    page.keyboard.type("script")
    options = page.locator("#chooser-list [role=option]").all_inner_texts()
    assert len(options) == 3
    assert options[-1] == "New class: script"
    page.press("Enter")
    page.fill("#search", "<script>")
    page.until("document.querySelector('#found').textContent !== '40 shown'")
    page.click("#clear")
    page.select_option("#filter-given", "3")
    page.click("#clear")
    page.click(".heatmap button >> nth=5")
    page.click("#clear")
    page.locator(".more").first.click()
    assert page.is_visible("#reader")
    page.press("Escape")
    page.set_viewport_size({"width": 380, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= 380
    assert page.evaluate("document.querySelectorAll('bdi').length") > 50
    assert "\u202e" not in page.evaluate("document.body.innerText")  # shown by its code instead
    assert "U+202E" in page.evaluate("document.body.innerText")
    assert page.evaluate("document.querySelectorAll('main script, main iframe, main [onerror]').length") == 0
    rows = page.corrections(tmp_path)
    assert len(rows) == 25
    known = {issue["id"]: issue for issue in facts["issues"]}
    for row in rows:
        assert not any(cell[:1] in tuple("=+-@\t\r") and cell for cell in row.values())
        assert facts["classes"][known[unguard(row["id"])]["given"]] == unguard(row["given"])
        assert row["decision"] == "junk" or unguard(row["label"]) in facts["classes"]
    page.clean(path)


def test_the_policy_stops_what_a_mistake_would_let_in(show, tmp_path):
    path, _ = written(tmp_path, 3)
    page = show(path)
    listener = socket.create_server(("127.0.0.1", 0))
    address = f"http://127.0.0.1:{listener.getsockname()[1]}/x.png"
    assert page.evaluate("address => fetch(address).then(() => 'sent', () => 'stopped')", address) == "stopped"
    tried = """(address) => {
      const script = document.createElement("script");
      try { script.text = "window.hacked = 1"; document.body.append(script); } catch { }
      try { document.body.innerHTML += "<img src=x onerror='window.hacked=1'>"; return "made"; } catch { }
      const image = document.createElement("img");
      image.src = address;
      document.body.append(image);
      return "stopped";
    }"""
    assert page.evaluate(tried, address) == "stopped"
    page.until("window.violations.length >= 2")
    assert page.evaluate("window.hacked") is None
    assert {word.split()[0] for word in page.evaluate("window.violations")} >= {"connect-src", "img-src"}
    listener.settimeout(0.3)
    with listener, pytest.raises(TimeoutError):
        listener.accept()  # nobody came


def test_decisions_of_one_run_are_not_another_s(show, tmp_path):
    path, facts = written(tmp_path, 10)
    page = show(path)
    page.to_queue()
    page.press("a", "a")
    other = render.write(facts | {"name": "another"}, tmp_path / "other.html")[0]
    assert "0 of 10 checked" in show(other, page.context).inner_text("#progress-text")
    fewer = render.write(facts | {"issues": facts["issues"][:5]}, tmp_path / "fewer.html")[0]
    assert "2 of 5 checked" in show(fewer, page.context).inner_text("#progress-text")


def test_another_tab_s_decisions_arrive_and_rubbish_in_the_storage_is_left_out(show, tmp_path):
    path, facts = written(tmp_path, 10)
    first = show(path)
    key = f"codivide:{render.fingerprint(facts)}:"
    rubbish = ["{", "[]", '{"decision":"accept","label":"no class"}', '{"decision":"__proto__"}', "null"]
    first.evaluate("([key, values]) => values.forEach((v, k) => localStorage.setItem(key + 7 * k, v))", [key, rubbish])
    second = show(path, first.context)
    assert "0 of 10 checked" in second.inner_text("#progress-text")
    second.to_queue()
    second.press("j")
    first.until("document.querySelector('#progress-text').textContent.startsWith('1 of 10')")
    assert first.corrections(tmp_path)[0]["decision"] == "junk"
    second.clean(path)


def test_without_a_storage_the_page_says_so_and_works(show, tmp_path):
    path, _ = written(tmp_path, 10)
    page = show(
        path, script="Storage.prototype.setItem = () => { throw new DOMException('full', 'QuotaExceededError'); };"
    )
    assert "download the corrections" in page.inner_text("#banner")
    page.to_queue()
    page.press("a")
    assert [row["decision"] for row in page.corrections(tmp_path)] == ["accept"]
    page.clean(path)


def test_issues_beside_the_page_are_loaded_when_needed(show, tmp_path):
    facts = example_facts(450, "text")
    path, *side = render.write(facts, tmp_path / "report.html", limit=100)
    page = show(path)
    assert page.asked == [path.as_uri()]
    page.locator("#list").press("End")
    page.until("document.querySelector('#card-body .text')?.textContent.includes('number 449:')")
    page.clean(path, *side)
    assert len(set(page.asked)) <= 4  # the page, one or two blocks, and the names
    shutil.rmtree(tmp_path / "report_files")
    alone = show(path)
    alone.locator("#list").press("End")
    alone.wait_for_selector("#card-body .flag")
    assert "is not beside this page" in alone.inner_text("#card-body .flag")
    alone.locator("#list").press("Home")
    assert "number 0:" in alone.inner_text("#card-body .text")
    assert alone.evaluate("window.violations") == []


def test_names_beside_the_page_are_read_for_search_order_and_download(show, tmp_path, monkeypatch):
    monkeypatch.setattr(render, "NAMES", 200)
    facts = example_facts(1300, "row")
    for i, issue in enumerate(facts["issues"]):
        issue["id"] = f"sample {(7 * i) % 1300:04d}"
    path, *side = render.write(facts, tmp_path / "report.html", limit=100)
    page = show(path)
    assert "of 1,300 checked" in page.inner_text("#progress-text")
    assert page.asked == [path.as_uri()]  # nothing of what lies beside it
    page.locator("#list").press("End")
    page.until("document.getElementById('card-body').textContent.includes('sample 1293')")
    names = [one for one in page.asked if Path(one).name.startswith("names")]
    assert len(names) == 1
    page.to_queue()
    page.press("a")
    page.fill("#search", "sample 000")
    page.until("document.getElementById('found').textContent === '10 shown'")
    page.select_option("#sort", "id")
    page.until("document.querySelector('#card-body').textContent.includes('sample 0000')")
    assert page.title().startswith("1 of 10")
    page.click("#keep")
    again = show(path, page.context)  # which has read no names
    found = {row["id"]: row for row in again.corrections(tmp_path)}
    assert {name: row["decision"] for name, row in found.items()} == {"sample 1293": "accept", "sample 0000": "keep"}
    again.clean(path, *side)
    page.clean(path, *side)
    for file in side:
        if "names" in file.name:
            file.unlink()
    alone = show(path, page.context)
    alone.fill("#search", "sample 0700")  # of the first, which are in the page
    alone.until("!document.getElementById('banner').hidden")
    assert "is not beside this page" in alone.inner_text("#banner")
    alone.until("document.getElementById('found').textContent === '1 shown'")


@pytest.mark.slow
def test_half_a_million_issues_are_listed_to_the_last(show, tmp_path):
    one, count = example_facts(1, "text"), 500_000
    block = render._block(one["issues"] * render.BLOCK)
    facts = one | {"issues_total": count, "samples": count}
    parts = render._Parts(0, tmp_path / "report_files")
    parts.index = {"id": [], "words": [], "row": list(range(count))}
    parts.index |= {"given": [0] * count, "suggested": [1] * count, "clean": [0.1] * count, "sure": [0.8] * count}
    parts.blocks = dict.fromkeys(range(count // render.BLOCK), parts._write("", 0, block))
    parts.words = dict.fromkeys(range(100), parts._write("names", 0, {"id": ["a"] * 5000, "words": ["b"] * 5000}))
    (tmp_path / "report.html").write_text(render._page(facts, parts, None), "ascii")
    page = show(tmp_path / "report.html")
    page.locator("#list").press("End")
    last = "document.querySelector('#rows > [aria-selected=true]')"
    page.until(f"{last}?.dataset.place === '499999'")
    box = page.evaluate(
        "(() => { const l = document.getElementById('list').getBoundingClientRect();"
        f"const r = {last}.getBoundingClientRect();"
        "return [r.top - l.top, l.bottom - r.bottom]; })()"
    )
    assert min(box) >= -1  # in sight
    page.evaluate("document.getElementById('list').scrollTop = document.getElementById('list').scrollHeight / 2")
    page.until("[...document.querySelectorAll('#rows > *')].some((line) => Math.abs(line.dataset.place - 250000) < 20)")
    page.evaluate("document.getElementById('list').scrollTop = 0")
    page.until("document.querySelector('#rows > [data-place=\"0\"]') !== null")


def test_a_served_page_keeps_its_decisions_at_the_server(show, tmp_path, browser):
    facts = example_facts(10)
    file = io.BytesIO()
    Image.new("RGB", (80, 80), (200, 30, 30)).save(file, "PNG")
    kept: dict[str, dict] = {}
    posted, down = [], []

    def server(route, request) -> None:
        where = request.url.removeprefix("http://127.0.0.1:9/secret/")
        if where == "":
            route.fulfill(body=render.page(facts, {"token": "secret"}), content_type="text/html")
        elif where.startswith("original/"):
            route.fulfill(body=file.getvalue(), content_type="image/png")
        elif down:
            down.pop()
            route.abort()
        elif request.method == "GET":
            route.fulfill(body=json.dumps(list(kept.values())), content_type="application/json")
        else:
            assert request.headers["x-codivide-token"] == "secret"
            posted.append(json.loads(request.post_data))
            kept[posted[-1]["id"]] = posted[-1]
            if posted[-1]["decision"] is None:
                del kept[posted[-1]["id"]]
            route.fulfill(body="null", content_type="application/json")

    context = browser.new_context(viewport={"width": 1280, "height": 900})
    context.route("http://127.0.0.1:9/**", server)
    page = show("http://127.0.0.1:9/secret/", context)
    page.to_queue()
    down.append("once")  # the first attempt does not arrive, and is made again
    page.press("a")
    page.wait_for_selector("#banner:not([hidden])")
    assert "0 of 10 checked, 1 not saved yet" in page.inner_text("#progress-text")
    box = page.locator("#banner").bounding_box()
    assert 0 <= box["y"] < 200  # in view, though the queue is far below the top of the page
    assert page.evaluate("window.scrollY") > 400
    page.press("k", "j", "u")
    page.wait_for_selector("#banner", state="hidden")
    page.until("document.querySelector('#progress-text').textContent.startsWith('2 of 10 checked;')")
    for _ in range(50):
        if len(posted) == 3:
            break
        page.wait_for_timeout(50)
    # of what waited, the last decision on each sample arrives
    assert [(p["id"], p["decision"]) for p in posted] == [
        (facts["issues"][k]["id"], d) for k, d in enumerate(("accept", "keep", None))
    ]
    assert posted[0]["given"] == facts["classes"][0]
    page.press("z")
    page.until("document.querySelector('.viewer img').naturalWidth === 80")
    again = show("http://127.0.0.1:9/secret/", context)
    assert "2 of 10 checked" in again.inner_text("#progress-text")
    assert again.evaluate("localStorage.length") == 0
    assert again.evaluate("window.violations") == []
    context.close()


@contextmanager
def serving(run: Path, facts: dict, port: int = 0) -> Iterator[serve.Server]:
    """A real server of a page."""
    issues, names = facts["issues"], facts["classes"]
    known = Known.of([one["id"] for one in issues], [names[one["given"]] for one in issues], names)
    with serve.open_decisions(run, known) as decisions:
        server = serve.Server(lambda token: render.page(facts, {"token": token}), known, decisions, {}, port)
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
            server.server_close()


def test_a_key_that_only_brings_the_card_into_view_is_said_where_all_can_see_it(show, tmp_path):
    facts = example_facts(10)
    with serving(tmp_path, facts) as server:
        page = show(server.address)
        page.press("a")
        assert page.inner_text("#banner") == "The card is in view now. Press the key again to decide."
        page.press(*"aaaaaaa")
        page.until("document.querySelector('#progress-text').textContent.startsWith('7 of 10 checked;')")
        assert page.page.locator("#banner").is_hidden()


def test_a_key_before_the_decisions_have_come_decides_nothing(show, tmp_path, browser):
    facts = example_facts(10)
    first = facts["issues"][0]
    name, given = first["id"], facts["classes"][first["given"]]
    slow = "const ask = fetch; const wait = () => new Promise((done) => setTimeout(done, 400));"
    slow += "fetch = async (...what) => { await wait(); return ask(...what); };"
    slow += "document.addEventListener('DOMContentLoaded', () => setTimeout(() => document.dispatchEvent("
    slow += "new KeyboardEvent('keydown', {key: 'j', bubbles: true})), 100));"
    with serving(tmp_path, facts) as server:
        server.decisions.save(name, given, "keep", given)
        page = show(server.address, script=slow, viewport={"width": 1280, "height": 20_000})  # the card is in view
        page.page.wait_for_timeout(1000)
        assert [(row.id, row.decision) for row in server.decisions.current()] == [(name, "keep")]


def test_an_undo_takes_back_no_decision_of_somebody_else(show, tmp_path, browser):
    facts = example_facts(10)
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    context.add_init_script("const every = setInterval; setInterval = (what, ms) => every(what, ms / 50)")
    checked = "document.querySelector('#progress-text').textContent.startsWith('{} of 10 checked;')"
    with serving(tmp_path, facts) as server:
        anna = show(server.address, context)
        anna.to_queue()
        anna.press("a", "k")
        anna.until(checked.format(2))
        anna.page.wait_for_timeout(500)  # the page has heard from the server, whose clock is another
        anna.press("u")
        anna.until(checked.format(1))
        context.add_init_script("setInterval = () => 0")  # this one does not hear in time
        ben = show(server.address, context)
        ben.to_queue()
        ben.press("j")
        ben.until(checked.format(2))
        anna.until(checked.format(2))
        anna.press("u")  # her own; his stays
        anna.until(checked.format(1))
        anna.press("a")
        anna.until(checked.format(2))
        server.decisions.save(facts["issues"][1]["id"], facts["classes"][facts["issues"][1]["given"]], "keep", "")
        ben.press("u")  # of what somebody has decided on since
        ben.until("document.querySelector('#banner').textContent.includes('has come since; it stays')")
        found = {row.id: row.decision for row in server.decisions.current()}
    assert found[facts["issues"][1]["id"]] == "keep"
    context.close()


def test_decisions_survive_a_server_that_is_stopped_and_started_again(show, tmp_path, browser):
    """A real server: it stops, decisions go on, it starts again with another token, and the new page sends them."""
    facts = example_facts(10)
    run = tmp_path / "run"
    run.mkdir()
    issues = facts["issues"]
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    with serving(run, facts) as first:
        page = show(first.address, context)
        page.to_queue()
        page.press("a")
        page.until("document.querySelector('#progress-text').textContent.startsWith('1 of 10 checked;')")
    page.press("k", "j", "a", "u")
    page.until("document.querySelector('#progress-text').textContent.startsWith('1 of 10 checked, 2 not saved yet')")
    page.until("document.querySelector('#banner').textContent.startsWith('3 decisions are not saved yet')")
    kept = page.evaluate("Object.entries(localStorage)")
    assert len(kept) == 3
    assert first.token not in json.dumps(kept)
    for width in (390, 700, 1280):  # what is not saved is said in view, on a telephone too
        page.set_viewport_size({"width": width, "height": 800})
        page.to_queue()
        box = page.locator("#banner").bounding_box()
        assert page.evaluate("window.scrollY") > 400
        assert 0 <= box["y"] < 200
        assert box["x"] == 0
        assert box["width"] == width
    with serving(run, facts, first.server_port) as second:
        assert second.token != first.token
        page.until("document.querySelector('#banner').textContent.includes('started again')")
        assert "1 of 10 checked, 2 not saved yet" in page.inner_text("#progress-text")  # the old page saves nothing
        again = show(second.address, context)
        again.until("document.querySelector('#progress-text').textContent.startsWith('3 of 10 checked;')")
        again.until("localStorage.length === 0")
        assert again.evaluate("window.violations") == []
        found = {row.id: row.decision for row in second.decisions.current()}
    assert found == {issues[0]["id"]: "accept", issues[1]["id"]: "keep", issues[2]["id"]: "junk"}
    context.close()


def test_what_lies_in_the_storage_is_sent_only_if_it_is_a_decision_and_the_last_one(show, tmp_path, browser):
    facts = example_facts(10)
    issues, names, posted = facts["issues"], facts["classes"], []
    saved = [{"id": issues[1]["id"], "decision": "keep", "label": names[issues[1]["given"]], "time": "2030"}]
    prefix = f"codivide:waiting:{render.fingerprint(facts)}:"
    old = {"decision": "junk", "label": "", "time": "2025"}
    entries = {
        prefix + issues[0]["id"]: json.dumps(old | {"id": issues[0]["id"], "given": names[issues[0]["given"]]}),
        prefix + issues[1]["id"]: json.dumps(old | {"id": issues[1]["id"], "given": names[issues[1]["given"]]}),
        prefix + issues[2]["id"]: json.dumps(old | {"id": issues[2]["id"], "given": "another"}),
        prefix + issues[3]["id"]: json.dumps(old | {"id": issues[4]["id"], "given": names[issues[4]["given"]]}),
        prefix + "gone": "{",
        "codivide:waiting:other:x": "kept",
    }

    def server(route, request) -> None:
        if request.url.endswith("/secret/"):
            route.fulfill(body=render.page(facts, {"token": "secret"}), content_type="text/html")
        elif request.method == "GET":
            route.fulfill(body=json.dumps(saved), content_type="application/json")
        else:
            posted.append(json.loads(request.post_data))
            route.fulfill(body="null", content_type="application/json")

    context = browser.new_context(viewport={"width": 1280, "height": 900})
    context.route("http://127.0.0.1:9/**", server)
    fill = f"for (const [key, value] of Object.entries({json.dumps(entries)})) localStorage.setItem(key, value);"
    page = show("http://127.0.0.1:9/secret/", context, fill)
    page.until("localStorage.length === 1")
    assert [(one["id"], one["decision"]) for one in posted] == [(issues[0]["id"], "junk")]
    assert page.evaluate("localStorage.getItem('codivide:waiting:other:x')") == "kept"
    page.until("document.querySelector('#progress-text').textContent.startsWith('2 of 10 checked;')")
    context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_serious_stands_in_the_way_of_anybody(show, tmp_path, scheme):
    from axe_playwright_python.sync_playwright import Axe

    def check(page, part: str | None = None):
        return Axe().run(page, context=part, options={"resultTypes": ["violations"]})

    path, _ = written(tmp_path, 20, "image")
    page = show(path, color_scheme=scheme)
    page.to_queue()
    page.press("a", "k", "j", "c")
    page.keyboard.type("truck")
    page.press("Enter", "p", "p")
    found = [("page", check(page.page))]
    for key, name in (("c", "chooser"), ("?", "help"), ("z", "viewer")):
        page.press(key)
        found.append((name, check(page.page, f"#{name}")))
        page.press("Escape")
    rows, _ = written(tmp_path, 20, "row", True)
    found.append(("rows", check(show(rows, color_scheme=scheme).page)))
    bad = [
        (where, violation["id"], violation["nodes"][0]["html"][:200], violation["nodes"][0]["failureSummary"])
        for where, result in found
        for violation in result.response["violations"]
        if violation["impact"] in ("serious", "critical")
    ]
    assert bad == []
    assert len(found[0][1].response["passes"]) > 20


def test_the_colours_can_be_chosen_and_are_remembered(show, tmp_path):
    path, _ = written(tmp_path, 3)
    page = show(path)
    colour = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(colour)
    page.click("#theme")
    dark = page.evaluate(colour)
    assert dark != light
    assert show(path, page.context).evaluate(colour) == dark
    assert show(path, color_scheme="dark").evaluate(colour) == dark


@pytest.mark.parametrize("inline", [1000, 10_000])
def test_ten_thousand_issues_are_no_burden(show, tmp_path, inline):
    facts = example_facts(10_000)
    rng = np.random.default_rng(0)
    pictures, small = noises(96), noises(48)
    for issue in facts["issues"]:
        issue["thumbnail"] = pictures[rng.integers(300)]
        issue["examples"] = {name: [small[k] for k in rng.integers(0, 300, 3)] for name in ("given", "suggested")}
    path, *side = render.write(facts, tmp_path / "report.html", limit=inline)
    page = show(path)
    opening = page.evaluate("window.made")
    page.to_queue()
    page.press(*("a", "k", "n") * 8)
    page.fill("#search", "cat")
    page.wait_for_timeout(300)
    page.click("#clear")
    for order in ("id", "pair", "sure", "rank"):
        page.select_option("#sort", order)
    for share in (0.2, 0.5, 0.9, 1.0, 0.0):
        page.evaluate(
            "share => { const l = document.getElementById('list'); l.scrollTop = share * l.scrollHeight; }", share
        )
        page.wait_for_timeout(150)
    page.locator("#list").press("End")
    page.wait_for_timeout(300)
    lines = page.locator("#rows > *").count()
    made = page.evaluate("window.made")
    client = page.context.new_cdp_session(page.page)
    client.send("HeapProfiler.collectGarbage")
    heap = client.send("Runtime.getHeapUsage")
    used = (heap["usedSize"] + heap.get("backingStorageSize", 0) + heap.get("embedderHeapUsedSize", 0)) / 2**20
    print(f"\n{inline} inline: {opening} nodes made to open, {made} in all, heap {used:.0f} MiB, {lines} lines")
    assert lines < 60
    assert opening < 2000
    assert made < 8000
    assert used < 300
    page.clean(path, *side)


@functools.cache
def noises(side: int) -> list[str]:
    rng = np.random.default_rng(side)
    return [noise(rng, side) for _ in range(300)]


def noise(rng: np.random.Generator, side: int) -> str:
    """A picture of coarse noise: as many bytes as a photograph of many details."""
    coarse = Image.fromarray(rng.integers(0, 256, (side // 4, side // 4, 3), dtype=np.uint8))
    file = io.BytesIO()
    coarse.resize((side, side), Image.Resampling.BICUBIC).save(file, "WEBP", quality=70, method=2)
    return "data:image/webp;base64," + base64.b64encode(file.getvalue()).decode("ascii")


def test_the_numbers_of_an_axis_stand_beside_its_name(show, tmp_path):
    facts = example_facts(3)
    facts["losses"]["counts"] = [9_000_000 * count for count in facts["losses"]["counts"]]
    page = show(render.write(facts, tmp_path / "report.html")[0])
    boxes = page.evaluate(
        """() => [...document.querySelectorAll("svg.chart")].map((chart) => {
          const name = [...chart.querySelectorAll("text[transform]")].pop().getBoundingClientRect();
          const marks = [...chart.querySelectorAll("text[text-anchor=end]")].map((one) => one.getBoundingClientRect());
          return [name.right, Math.min(...marks.map((mark) => mark.left))];
        })"""
    )
    assert boxes
    assert all(name < mark for name, mark in boxes)
