"""README and the documentation: examples run, tables are up to date, words are plain, links lead somewhere."""

import contextlib
import doctest
import importlib.util
import inspect
import io
import json
import re
import shlex
import subprocess
import sys
from collections import defaultdict
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from typer.main import get_command

import codivide
from codivide import METHODS, audit
from codivide.bench import store
from codivide.cli import app as command_line
from codivide.cli.flags import spread
from codivide.cli.method_flags import described
from codivide.methods import _semi_supervised
from codivide.noise import report

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = sorted((ROOT / "docs").rglob("*.md"))
EXECUTED = [path for path in PAGES if path.parent.name in ("howto", "reference", "docs")]
EXECUTED += [ROOT / "docs" / "explain" / f"{name}.md" for name in ("features", "noise")]  # auto takes 15 s: `make docs`
TABULATED = [
    path for path in PAGES if "exec=" in path.read_text("utf-8") and path.parent.name not in ("methods", "lab")
]


def load(path):
    """A script as a module, under a name that no module of Python has."""
    spec = importlib.util.spec_from_file_location(f"script_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


words = load(ROOT / "docs" / "words.py")


def blocks(text, language):
    return re.findall(rf"^ *```{language}\n(.*?)^ *```", text, re.MULTILINE | re.DOTALL)


def commands(text):
    """Every ``codivide`` command of the console blocks, as words."""
    lines = [line for block in blocks(text, "console") for line in block.replace("\\\n", " ").splitlines()]
    return [shlex.split(line[2:], comments=True) for line in lines if line.startswith("$ codivide ")]


def call(command):
    """A command in this process; its exit code."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", command)
        with pytest.raises(SystemExit) as ended:
            command_line.main()
    return ended.value.code or 0


# --- README


def test_readme_is_short_and_has_no_command_for_an_index_that_does_not_have_it():
    assert len(README.splitlines()) < 120
    installs = re.findall(r"^.*pip install.*$", README, re.MULTILINE)
    assert installs
    for line in installs:
        assert "git+" in line or "install -c constraints.txt ." in line or "do not `pip install codivide`" in line


def test_no_page_and_no_message_installs_a_name_that_is_not_ours():
    texts = [*PAGES, ROOT / "README.md", *(ROOT / "codivide").rglob("*.py")]
    for path in texts:
        text = " ".join(path.read_text(encoding="utf-8").split())
        for before, after in re.findall(r"(.{12})pip install ['\"]?codivide(.{0,12})", text):
            assert " @ gi" in after or "do not" in before, path


def shapes(folder, count):
    """Photos of one colour a class, with a few in the wrong folder."""
    generator = np.random.default_rng(0)
    for k, name in enumerate(("red", "blue")):
        for i in range(count):
            pixels = generator.integers(0, 90, (32, 32, 3)).astype(np.uint8)
            pixels[..., 2 * (k if i % 8 else 1 - k)] += 150
            path = folder / name / f"{i}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(path)


@pytest.mark.long
def test_the_first_minute_of_readme_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CODIVIDE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("webbrowser.open", lambda address: True)
    shapes(tmp_path / "photos", 20)
    shapes(tmp_path / "new", 1)
    rng = np.random.default_rng(0)
    k = rng.integers(0, 2, 160)
    said = np.array([["awful", "broken", "late"], ["lovely", "works", "early"]])[k, rng.integers(0, 3, 160)]
    things = ["lamp", "radio", "chair", "clock", "kettle", "train", "book", "shoe"]
    text = [
        f"the {first} {word} and the {second}"
        for word, (first, second) in zip(said, rng.choice(things, (160, 2)), strict=True)
    ]
    pd.DataFrame({"text": text, "label": np.array(["bad", "good"])[k]}).to_csv("comments.csv", index=False)
    songs = pd.DataFrame({"beats": rng.normal(90 + 40 * k, 9), "key": rng.choice(["C", "D"], 160)})
    songs.assign(genre=np.array(["folk", "rock"])[k]).to_csv("songs.csv", index=False)
    found = commands(README)
    assert len(found) == 7
    for command in found:
        assert call(command) == 0, command
    (snippet,) = blocks(README, "python")
    exec(compile(snippet, "README.md", "exec"), {})
    said = capsys.readouterr().out.splitlines()
    assert sum(line.split() == ["given", "suggested", "clean_prob"] for line in said) == 2


# --- pages


@pytest.mark.parametrize("path", [ROOT / "README.md", *PAGES], ids=lambda path: path.relative_to(ROOT).as_posix())
def test_links_lead_to_files_and_headings(path):
    text = re.sub(r"^( *)```.*?^\1```", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", re.sub(r"`[^`]*`", "", text)):
        if "://" in target:
            continue
        name, _, anchor = target.partition("#")
        to = (path.parent / name).resolve() if name else path
        assert to.exists(), target
        if anchor and to.suffix == ".md":
            source = ROOT / "CONTRIBUTING.md" if to.name == "contributing.md" else to
            assert anchor in anchors(source.read_text(encoding="utf-8")), target


def anchors(text):
    """Of all headings, as mkdocs makes them."""
    found = set()
    for heading in re.findall(r"^#+ (.*)$", text, re.MULTILINE):
        own = re.search(r"\{#([\w-]+)\}", heading)
        plain = re.sub(r"[^\w\s-]", "", heading.lower()).strip()
        found.add(own.group(1) if own else re.sub(r"[-\s]+", "-", plain))
    return found


def test_every_page_is_in_the_menu():
    menu = set(re.findall(r"([\w/]+\.md)", (ROOT / "mkdocs.yml").read_text(encoding="utf-8")))
    assert menu == {path.relative_to(ROOT / "docs").as_posix() for path in PAGES}


@pytest.mark.parametrize("path", [ROOT / "README.md", *PAGES], ids=lambda path: path.relative_to(ROOT).as_posix())
def test_commands_of_a_page_exist_with_their_flags(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for block in re.findall(r"^```\w+[^\n]*\n(# [\w.]+\n.*?)^```", path.read_text("utf-8"), re.DOTALL | re.MULTILINE):
        (tmp_path / block.split()[1]).write_text(block)  # a file that commands of the page name
    for command in commands(path.read_text(encoding="utf-8")):
        name, flags = command[1], [word.partition("=")[0] for word in command if word.startswith("--")]
        if name in ("bench", "--version"):  # tests of the bench run these
            continue
        function = getattr(import_module(f"codivide.cli.{command_line.COMMANDS[name]}"), name)
        more = []
        if name == "fit":
            from codivide.cli.method_flags import method_flags

            more = method_flags(command[2:])
        known = {"--" + parameter.replace("_", "-") for parameter in spread(function, more).__signature__.parameters}
        assert set(flags) <= known | {
            "--no-record-learning",
            "--no-restore-classes",
            "--help",
            "--no-correct",
            "--json",
        }, command


def examples(path, shown):
    """Run the blocks of a page that are executed where it is built: those that it shows, or those that make a table."""
    sessions = defaultdict(dict)
    found = re.findall(r'^```python exec="true"([^\n]*)\n(.*?)^```', path.read_text("utf-8"), re.DOTALL | re.MULTILINE)
    for options, block in found:
        session = re.search(r'session="(\w+)"', options)
        if ('source="above"' in options) == shown:
            exec(compile(block, str(path), "exec"), sessions[session.group(1)] if session else {})


@pytest.fixture
def in_this_process(monkeypatch):
    """Commands of codivide that a page runs in a process of their own are run in this one, which has torch."""
    run = subprocess.run

    def run_here(command, *, check=False, env=None, **more):
        if command[:2] != [sys.executable, "-m"] or not command[2].startswith("codivide"):
            return run(command, check=check, env=env, **more)
        out = io.StringIO()
        with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(out):
            for name, value in (env or {}).items():
                patch.setenv(name, value)
            code = call(["codivide", *map(str, command[3:])])
        assert not check or code == 0
        return subprocess.CompletedProcess(command, code, out.getvalue(), "")

    monkeypatch.setattr(subprocess, "run", run_here)


@pytest.mark.long
@pytest.mark.parametrize("path", EXECUTED, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_examples_with_output_run(path, monkeypatch, in_this_process):
    monkeypatch.chdir(ROOT)
    examples(path, shown=True)


@pytest.mark.parametrize("path", TABULATED, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_tables_of_results_are_made(path, monkeypatch, capsys, in_this_process):
    monkeypatch.chdir(ROOT)
    examples(path, shown=False)
    made = capsys.readouterr().out
    assert "nan" not in made.split()
    assert path.name != "cli.md" or "--lambda-u" in made


def test_a_page_that_is_a_tab_has_no_list_beside_it_that_names_itself_alone():
    pytest.importorskip("latex2mathml")
    pytest.importorskip("mkdocs")
    hooks = load(ROOT / "docs" / "hooks.py")
    for parent, hidden in ((None, {"hide": ["navigation"]}), ("How-to", {})):
        page = SimpleNamespace(parent=parent, meta={})
        assert hooks.on_page_context({"a": 1}, page, config=None, nav=None) == {"a": 1}
        assert page.meta == hidden


def test_formulas_are_drawn_without_a_script():
    pytest.importorskip("latex2mathml")
    pytest.importorskip("mkdocs")
    hooks = load(ROOT / "docs" / "hooks.py")
    page = r'<p><span class="arithmatex">\(p &lt; 1\)</span><div class="arithmatex">\[\arg\max_c p_c\]</div> \(x\)</p>'
    made = hooks.on_page_content(page)
    assert made.count("<math") == 2
    assert made.endswith(r"</div> \(x\)</p>")  # what is no formula of the page stays
    assert "<mi>p</mi><mo>&#x0003C;</mo><mn>1</mn>" in made
    assert "\\arg" not in made


def test_words_are_plain():
    found = [f"{path}:{line}: {what}" for path in words.pages() for line, what in words.found(path.read_text("utf-8"))]
    assert found == []


def told():
    """What pages and ``--help`` print of the code: what methods keep, how noise is estimated, every flag."""
    yield "codivide.noise.report", report.__doc__.partition("\n\n")[2]
    yield "codivide.methods._semi_supervised", _semi_supervised.__doc__.partition("\n\n")[2]
    for name, method in METHODS.items():
        header = import_module(method.__module__).__doc__
        yield method.__module__, re.search(r"(Kept from|Parts that others|\Z).*", header, re.DOTALL).group()
        yield from ((f"--{flag} of {name}", f"| {text} |") for flag, text in described(method).items())
    waiting = [get_command(command_line.application([]))]
    for command in waiting:
        waiting += getattr(command, "commands", {}).values()
        yield f"codivide {command.name}", command.help
        yield from ((f"{item.name} of codivide {command.name}", f"| {item.help} |") for item in command.params)


def test_words_that_come_from_the_code_are_plain():
    assert [f"{where}: {what}" for where, text in told() for _, what in words.found(text)] == []


@pytest.mark.parametrize(
    ("text", "hits"),
    [
        ("Short. And sweet.", 0),
        ("word " * 31, 1),
        ("word " * 29 + "end. Word" + " word" * 29, 0),
        ("The scout peeks at the color.", 3),
        ("`scout` and [the page](color.md) are names.", 0),
        ("| " + "word " * 20 + "| " + "word " * 20 + "|", 0),
        ("```\n" + "word " * 40 + "\n```", 0),
    ],
)
def test_the_check_of_words(text, hits):
    assert len(list(words.found(text))) == hits


def test_numbers_are_up_to_date():
    numbers = load(ROOT / "benchmarks" / "make_numbers.py")
    again = "run: python benchmarks/make_numbers.py"
    assert numbers.PAGE.read_text(encoding="utf-8") == numbers.page(), again
    assert numbers.with_table(README) == README, again


def test_every_result_is_linked_from_the_page_of_numbers():
    linked = set(re.findall(r"\]\(\.\./results/([^)]+)\)", (ROOT / "docs" / "numbers.md").read_text(encoding="utf-8")))
    there = {path.relative_to(ROOT / "results").as_posix() for path in (ROOT / "results").rglob("*") if path.is_file()}
    assert there - {"waiting.json"} <= linked  # what has not run is no number
    assert linked <= there


def commits(held):
    """Every commit that a result names, however deep; a ``+`` says that something was not committed yet."""
    if isinstance(held, dict) and isinstance(held.get("commit"), str):
        yield held["commit"].rstrip("+")
    for inner in held.values() if isinstance(held, dict) else held if isinstance(held, list) else ():
        yield from commits(inner)


@pytest.mark.process
def test_every_result_names_a_commit_of_the_history():
    """Else nobody can look at the code that made a number: a commit that was rebased afterwards is gone."""
    asked = ["git", "-C", str(ROOT), "rev-parse", "--is-shallow-repository"]
    if not (ROOT / ".git").exists() or subprocess.run(asked, capture_output=True, text=True).stdout.strip() != "false":
        pytest.skip("no history here")
    history = subprocess.run(["git", "-C", str(ROOT), "rev-list", "HEAD"], capture_output=True, text=True).stdout
    named = {}
    nameless = set()
    for path in sorted((ROOT / "results").rglob("*.json")):
        found = dict.fromkeys(commits(json.loads(path.read_text(encoding="utf-8"))), path)
        named |= found
        nameless |= set() if found else {path.name}
    assert nameless <= {"golden.json"}  # of before; its script names it now
    for path in sorted((ROOT / "results").rglob(store.GATHERED)):
        named |= dict.fromkeys(commits([json.loads(text) for text in pd.read_parquet(path)["record"]]), path)
    assert len(named) > 50
    assert {name: str(path) for name, path in named.items() if f"\n{name}" not in f"\n{history}"} == {}


# --- notebooks

notebooks = load(ROOT / "examples" / "make_notebooks.py")
SCRIPTS = sorted(notebooks.FOLDER.glob("*.py"))


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_a_notebook_is_its_script_with_what_it_printed(path):
    made = json.loads(path.with_suffix(".ipynb").read_text(encoding="utf-8"))
    found = [(cell["cell_type"], "".join(cell["source"])) for cell in made["cells"]]
    assert found == notebooks.cells(path.read_text(encoding="utf-8")), "run: python examples/make_notebooks.py"
    assert made["nbformat"] == 4
    printed = "".join(line for cell in made["cells"] for out in cell.get("outputs", ()) for line in out["text"])
    assert printed
    assert not re.search(r"/(home|root|tmp|Users|work)/", printed)


def quick(path):
    """Of notebooks that take seconds; the others wait for make test-slow."""
    marks = [pytest.mark.slow] if path.stem in ("photos", "table") else [pytest.mark.long]
    return pytest.param(path, marks=marks, id=path.stem)


@pytest.mark.parametrize("path", [quick(path) for path in SCRIPTS])
def test_a_notebook_runs(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CODIVIDE_CACHE", str(tmp_path / "cache"))
    made = notebooks.notebook(path)
    assert all(cell["outputs"] for cell in made["cells"][-1:])


# --- public names


def test_every_public_name_has_a_place_and_an_example():
    pages = {path: path.read_text(encoding="utf-8") for path in (ROOT / "docs" / "reference").glob("*.md")}
    examples = "\n".join(
        block for text in pages.values() for _, block in re.findall(r"```python([^\n]*)\n(.*?)```", text, re.DOTALL)
    )
    listed = "\n".join(re.findall(r"^::: (.*(?:\n    .*)*)", "\n".join(pages.values()), re.MULTILINE))
    for name in {*codivide.__all__, *audit.__all__} - {"__version__", "audit", "METHODS"}:
        found = getattr(codivide, name, None) or getattr(audit, name)
        module = found.__module__
        assert f"{module}.{found.__name__}" in listed or module in listed or name in listed, name
        if not name.endswith(("Warning", "Report", "Model", "Findings")):  # what others give back
            assert re.search(rf"\b{name}\b", examples), name


def shown_in_docstrings():
    """The public names whose docstrings hold examples."""
    found = {name: getattr(codivide, name) for name in codivide.__all__}
    found |= {name: getattr(audit, name) for name in audit.__all__}
    return {name: one for name, one in found.items() if not inspect.ismodule(one) and ">>>" in (one.__doc__ or "")}


@pytest.mark.parametrize("name", shown_in_docstrings())
def test_the_examples_of_docstrings_run(name):
    (example,) = doctest.DocTestFinder(recurse=False).find(shown_in_docstrings()[name], name)
    assert doctest.DocTestRunner().run(example) == (0, len(example.examples))
