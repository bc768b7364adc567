"""The audit page as a text: what is in it, what it allows, and what is written where. Nothing here needs a browser."""

import ast
import base64
import hashlib
import json
import math
import re
import shutil
from html.parser import HTMLParser
from importlib import import_module
from pathlib import Path

import pytest
from data_facts import HOSTILE, example_facts

from codivide.audit import render
from codivide.core.errors import InputError
from codivide.core.files import FORMULA, NUMBER

VOID = {"meta", "link", "input", "br", "img", "hr"}


class Parsed(HTMLParser):
    """Elements with their attributes and own text; balanced, or it fails."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[dict] = []
        self.found: list[dict] = []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        element = {"tag": tag, "attributes": dict(attrs), "text": ""}
        assert len(attrs) == len(element["attributes"]), f"an attribute twice in <{tag}>"
        self.found.append(element)
        if tag not in VOID:
            self.open.append(element)

    def handle_endtag(self, tag):
        assert self.open.pop()["tag"] == tag

    def handle_data(self, data):
        if self.open:
            self.open[-1]["text"] += data

    def all(self, tag: str) -> list[dict]:
        return [element for element in self.found if element["tag"] == tag]

    def json(self, name: str):
        (block,) = [e for e in self.found if e["attributes"].get("id") == name]
        assert block["tag"] == "script"
        assert block["attributes"]["type"] == "application/json"
        return json.loads(block["text"])


def policy(page: Parsed) -> dict[str, list[str]]:
    (meta,) = [e for e in page.all("meta") if e["attributes"].get("http-equiv") == "Content-Security-Policy"]
    rules = [rule.split() for rule in meta["attributes"]["content"].split(";")]
    return {name: values for name, *values in rules}


def sha256(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def unpacked(page: Parsed, side: list[Path] = ()) -> list[dict]:
    """The issues, put together again from index, names and blocks."""
    index, parts = page.json("index"), {}
    for element in page.found:
        if (element["attributes"].get("id") or "").startswith("block-"):
            parts[int(element["attributes"]["id"][6:])] = json.loads(element["text"])
    for path in side:
        key, literal = re.fullmatch(r"codivideBlock\('(\w+)', ('.*')\);\n", path.read_text("ascii")).groups()
        parts[int(key) if key.isdigit() else key] = json.loads(ast.literal_eval(literal))
    names = [part for key, part in sorted(parts.items(), key=str) if isinstance(key, str)]
    ids = sum((part["id"] for part in names), index["id"])
    blocks = [parts[key] for key in sorted(key for key in parts if isinstance(key, int))]
    issues = []
    for block in blocks:
        pool = block["pool"]
        for detail in block["issues"]:
            i, fields, near = len(issues), detail.get("fields"), detail.get("neighbours")
            layout = fields and [pool[k] for k in block["layouts"][fields[0]]]
            issues.append(
                {name: index[name][i] for name in ("row", "given", "suggested")}
                | {"id": ids[i], "clean_prob": index["clean"][i], "suggested_prob": index["sure"][i]}
                | {"text": detail.get("text"), "neighbours": near and {"agree": near[0], "of": near[1]}}
                | {"fields": fields and [list(pair) for pair in zip(layout, fields[1:], strict=True)]}
                | {"thumbnail": pool[detail["thumbnail"]] if "thumbnail" in detail else None}
                | {"examples": [pool[item] for item in detail["examples"][0]]}
            )
    return issues


def wanted(facts: dict) -> list[dict]:
    names = (
        "row",
        "id",
        "given",
        "suggested",
        "clean_prob",
        "suggested_prob",
        "text",
        "fields",
        "neighbours",
        "thumbnail",
    )
    return [
        {name: issue[name] for name in names} | {"examples": issue["examples"]["given"]} for issue in facts["issues"]
    ]


@pytest.mark.parametrize("kind", ["image", "text", "row"])
@pytest.mark.parametrize("hostile", [False, True])
def test_what_goes_in_is_in_the_page_and_nothing_of_it_is_markup(kind, hostile):
    facts = example_facts(230, kind, hostile)
    text = render.page(facts)
    page = Parsed(text)
    assert unpacked(page) == wanted(facts)
    assert page.json("facts") == {name: value for name, value in facts.items() if name != "issues"}
    assert text.isascii()
    plain = Parsed(render.page(example_facts(230, "text" if kind == "image" else kind)))
    assert [(e["tag"], e["attributes"].get("id")) for e in page.found] == [
        (e["tag"], e["attributes"].get("id")) for e in plain.found
    ]
    for word in HOSTILE[:3]:
        assert word not in text


def test_the_page_is_well_formed_and_its_references_lead_somewhere():
    page = Parsed(render.page(example_facts(10)))
    ids = [e["attributes"]["id"] for e in page.found if "id" in e["attributes"]]
    assert len(ids) == len(set(ids))
    for element in page.found:
        for name in ("aria-labelledby", "aria-controls", "for"):
            assert set((element["attributes"].get(name) or "").split()) <= set(ids)
        assert not [name for name in element["attributes"] if name.startswith("on") or name == "style"]
    for control in page.all("button"):
        assert control["attributes"]["type"] == "button"
    assert page.all("html")[0]["attributes"]["lang"] == "en"


def test_the_policy_allows_the_own_script_and_style_and_nothing_else():
    page = Parsed(render.page(example_facts(10)))
    scripts = [e for e in page.all("script") if e["attributes"].get("type") != "application/json"]
    assert len(scripts) == len(page.all("style")) == 1
    assert policy(page) == {
        "default-src": ["'none'"],
        "script-src": [sha256(scripts[0]["text"])],
        "style-src": [sha256(page.all("style")[0]["text"])],
        "img-src": ["data:"],
        "connect-src": ["'none'"],
        "base-uri": ["'none'"],
        "form-action": ["'none'"],
        "require-trusted-types-for": ["'script'"],
        "trusted-types": ["'none'"],
    }
    # The empty icon keeps a browser from asking a server for one.
    assert [e["attributes"] for e in page.all("link")] == [{"rel": "icon", "href": "data:,"}]
    assert not [e for e in page.found if "src" in e["attributes"]]


def test_a_served_page_may_ask_its_own_server_and_a_paged_one_load_what_lies_beside_it(tmp_path):
    plain, served = (policy(Parsed(render.page(example_facts(10), served))) for served in (None, {"token": "t"}))
    assert served == plain | {"connect-src": ["'self'"], "img-src": ["data:", "'self'"]}
    assert Parsed(render.page(example_facts(10), {"token": "t"})).json("config")["token"] == "t"
    assert Parsed(render.page(example_facts(10))).json("config")["token"] is None
    path = render.write(example_facts(101), tmp_path / "report.html", limit=100)[0]
    paged = policy(Parsed(path.read_text("ascii")))
    assert paged == plain | {"script-src": [*plain["script-src"], "'self'"], "trusted-types": ["codivide"]}


def test_the_script_never_makes_markup_or_code_of_a_text():
    text = "\n".join((render.PAGE / f"{name}.js").read_text("utf-8") for name in render.SCRIPTS)
    for word in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "Function(", "srcdoc"):
        assert word not in text
    assert "</script" not in text
    assert set(re.findall(r"https?://[^\"'` ]*", text)) == {"http://www.w3.org/2000/svg"}  # a name, no address
    assert {p.stem for p in render.PAGE.glob("*.js")} == set(render.SCRIPTS)


def test_more_issues_than_the_limit_lie_in_files_beside_the_page(tmp_path):
    facts = example_facts(730, hostile=True)
    page, *side = render.write(facts, tmp_path / "audit.html", limit=250)
    assert page == tmp_path / "audit.html"
    assert {path.parent for path in side} == {tmp_path / "audit_files"}
    parsed = Parsed(page.read_text("ascii"))
    files = parsed.json("config")["files"]
    names = parsed.json("config")["names"]["files"]
    assert [tmp_path / name for name in (*files.values(), *names.values())] == side
    assert list(files) == ["3", "4", "5", "6", "7"]  # whole blocks of 100: 300 issues are in the page
    assert len(parsed.json("index")["row"]) == 730
    assert len(parsed.json("index")["id"]) == 300
    assert unpacked(parsed, side) == wanted(facts)


def test_a_new_page_takes_the_place_of_the_old_one_and_touches_nothing_else(tmp_path):
    path = tmp_path / "report.html"
    _, *old = render.write(example_facts(250), path, limit=100)
    (path.parent / "report_files" / "notes.txt").write_text("mine")
    _, *new = render.write(example_facts(250, "text"), path, limit=100)
    names = {p.name for p in (tmp_path / "report_files").iterdir()}
    assert names == {"notes.txt", *(p.name for p in new)}
    assert not {p.name for p in old} & names
    render.write(example_facts(50), path)
    assert {p.name for p in (tmp_path / "report_files").iterdir()} == {"notes.txt"}
    assert sorted(p.name for p in tmp_path.iterdir()) == ["report.html", "report_files"]


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_numbers_that_are_none_are_refused_and_the_old_page_stays(tmp_path, value):
    path = tmp_path / "report.html"
    render.write(example_facts(10), path)
    before = path.read_bytes()
    facts = example_facts(10)
    facts["noise"]["rate"] = value
    with pytest.raises(InputError, match="cannot be drawn"):
        render.write(facts, path)
    assert path.read_bytes() == before


def test_facts_of_another_format_are_refused():
    with pytest.raises(InputError, match="format 2"):
        render.page(example_facts(1) | {"format": 2})


def test_where_no_page_can_be_written_is_said_at_once(tmp_path):
    with pytest.raises(InputError, match="is a folder"):
        render.write(example_facts(1), tmp_path)
    with pytest.raises(InputError, match="does not exist"):
        render.write(example_facts(1), tmp_path / "no" / "report.html")


def test_a_fingerprint_is_of_the_run_and_not_of_the_list():
    facts, fewer = example_facts(200), example_facts(200)
    fewer["issues"] = fewer["issues"][:50]
    fewer["created"] = "2030-01-01T00:00:00+00:00"
    assert render.fingerprint(facts) == render.fingerprint(fewer)
    assert render.fingerprint(facts) != render.fingerprint(facts | {"name": "another"})
    assert render.fingerprint(facts) != render.fingerprint(facts | {"curves": facts["curves"][:-1]})


def test_half_characters_and_an_empty_run_can_be_drawn(tmp_path):
    facts = example_facts(3, "text")
    facts["issues"][0]["id"] = facts["issues"][0]["text"] = "half \ud800 of one"
    facts["issues"][1]["clean_prob"] = None
    render.write(facts, tmp_path / "a.html")
    assert Parsed((tmp_path / "a.html").read_text("ascii")).json("index")["id"][0] == "half \ud800 of one"
    empty = example_facts(1) | {"issues": [], "issues_total": 0, "pairs": [], "losses": None, "annotators": None}
    assert unpacked(Parsed(render.page(empty))) == []


def test_a_thousand_issues_with_pictures_stay_under_15_mb():
    facts = example_facts(1000)
    for i, issue in enumerate(facts["issues"]):
        # As large as pictures of 96 and 48 pixels in the worst case (noise), and no two alike.
        picture = f"data:image/webp;base64,{i:06d}"
        issue["thumbnail"] = picture + "A" * 4500
        issue["examples"] = {
            name: [f"{picture}{name}{k}" + "A" * 1500 for k in range(3)] for name in ("given", "suggested")
        }
    assert len(render.page(facts)) < 15e6


@pytest.mark.parametrize("name", ["thesis.txt", "labels.csv", "empty.html"])
def test_a_file_that_is_no_page_is_never_replaced(tmp_path, name):
    path = tmp_path / name
    path.write_text("" if name == "empty.html" else "<p>Label audit</p>")
    for attempt in (lambda: render.check_target(path), lambda: render.write(example_facts(1), path)):
        with pytest.raises(InputError, match="is no page of codivide"):
            attempt()
    assert path.read_text() == ("" if name == "empty.html" else "<p>Label audit</p>")
    render.write(example_facts(1), tmp_path / "page.html")
    render.write(example_facts(2), tmp_path / "page.html")  # its own is


def test_the_page_guards_cells_by_the_patterns_of_the_package():
    """One rule for both: it stands in the script as Python has it, and holds nothing that only one of them knows."""
    _, script = render._assets()
    assert f"const FORMULA = /^{FORMULA.pattern}/;" in script
    assert f"const NUMBER = /^({NUMBER.pattern})$/i;" in script
    for pattern in (FORMULA, NUMBER):
        assert not [text for text in ("/", "\n", "(?", "\\A", "\\Z") if text in pattern.pattern]
    assert "\\d" not in (render.PAGE / "storage.js").read_text("utf-8")  # no second copy


def test_a_package_in_an_archive_draws_the_page(tmp_path, monkeypatch):
    here, packed = Path(render.__file__).parent, tmp_path / "packed"
    shutil.copytree(here / "page", packed / "page")
    shutil.copy(here / "render.py", packed)
    (packed / "__init__.py").touch()
    archive = shutil.make_archive(str(tmp_path / "archive"), "zip", tmp_path, "packed")
    shutil.rmtree(packed)
    monkeypatch.syspath_prepend(archive)
    drawing = import_module("packed.render")
    assert drawing.__file__.startswith(archive)
    assert drawing.page(example_facts()) == render.page(example_facts())


def test_the_list_shows_a_text_of_a_table_without_the_name_of_its_column():
    facts = example_facts()
    issue = facts["issues"][0] | {"text": None, "fields": [["title", "A very\ngood song"], ["plays", 1234570.0]]}
    page = render.page(facts | {"issues": [issue]})
    assert "A very good song, plays 1234570" in page
    assert "title A very" not in page
