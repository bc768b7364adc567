"""The house keeps its order: wings and layers, short functions, no circles, pages and lists that name what is there."""

import ast
import re
import tomllib
from collections.abc import Iterator
from graphlib import TopologicalSorter
from importlib.util import find_spec
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "codivide"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
MODULES = {path.relative_to(ROOT).as_posix(): path for path in sorted(PACKAGE.rglob("*.py"))}
LONGEST_FUNCTION, LONGEST_FILE = 60, 600
TEXTS = (".md", ".py", ".ipynb")
TESTED_EXTRAS = ("browser", "test")
WHEELS = {"skclean": "scikit-clean"}  # where a module is not called as its wheel


def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def wings() -> list[str]:
    """The layers of import-linter's contract, from the top."""
    (contract,) = (c for c in PROJECT["tool"]["importlinter"]["contracts"] if c["type"] == "layers")
    assert not any("ignore" in key for key in contract)  # no exceptions
    return [layer.removeprefix("codivide.") for layer in contract["layers"]]


def functions(module: str) -> Iterator[tuple[str, int]]:
    """Names and lengths of all functions but constructors, whose lines are the parameters."""
    for node in ast.walk(tree(MODULES[module])):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name != "__init__":
            yield f"{module}:{node.name}", (node.end_lineno or node.lineno) - node.lineno + 1


def imports(module: Path) -> set[str]:
    """The modules of codivide that importing this one imports: not those inside a function or for types alone."""
    found: set[str] = set()
    waiting: list[ast.AST] = list(tree(module).body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            waiting += node.orelse
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            inner = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name if place(name) else node.module for name in inner}
        waiting += ast.iter_child_nodes(node)
    return {path for name in found if (path := place(name))}


def place(name: str) -> str | None:
    """The file of a module, None when it is none of codivide's."""
    base = name.replace(".", "/")
    return next((path for path in (f"{base}.py", f"{base}/__init__.py") if path in MODULES), None)


def test_the_layers_are_the_wings_on_disk():
    found = {path.name for path in PACKAGE.iterdir() if (path / "__init__.py").exists()}
    assert set(wings()) == found
    assert len(wings()) == len(found)


def test_the_package_has_few_names():
    names = {path.name for path in PACKAGE.iterdir()} - {"py.typed", "__pycache__"}
    assert len(names) <= 12, sorted(names)  # ten wings, __init__.py and __main__.py


def test_the_page_of_the_architecture_has_the_wings_in_order():
    assert re.findall(r"^\| `codivide/(\w+)` \|", PAGE, re.MULTILINE) == wings()


def test_every_path_on_the_page_of_the_architecture_exists():
    named = set(re.findall(r"`((?:codivide|docs|tests)/[\w/.]*)`", PAGE))
    assert len(named) > 30
    assert [path for path in sorted(named) if not (ROOT / path).exists()] == []


def test_every_test_on_the_page_of_known_cases_exists():
    page = (ROOT / "docs" / "known_cases.md").read_text(encoding="utf-8")
    named = re.findall(r"`(test_\w+)::(test_\w+)`", page)
    assert len(named) > 60
    texts = {file: (ROOT / "tests" / f"{file}.py").read_text(encoding="utf-8") for file, _ in named}
    assert [(file, name) for file, name in named if f"\ndef {name}(" not in texts[file]] == []
    rows = [row for row in page.splitlines() if re.match(r"\| (\d|[FWAB]\d)", row)]
    assert len(rows) == 27 + 9 + 8 + 13 + 9
    assert [row for row in rows if "::" not in row] == []


def test_no_circle_of_imports():
    graph = {module: imports(path) for module, path in MODULES.items()}
    assert sum(map(len, graph.values())) > 100
    assert len(list(TopologicalSorter(graph).static_order())) == len(MODULES)  # CycleError names the circle


def test_no_function_is_longer_than_a_screen():
    long = {name: lines for module in MODULES for name, lines in functions(module) if lines > LONGEST_FUNCTION}
    assert long == {}


def test_no_file_is_longer_than_600_lines():
    lines = {module: len(path.read_text(encoding="utf-8").splitlines()) for module, path in MODULES.items()}
    assert {module: n for module, n in lines.items() if n > LONGEST_FILE} == {}


def test_a_share_is_written_with_a_space_before_its_sign():
    """``14.1 %`` everywhere: no ``{share:.1%}`` in what a user is told, in pages and in notebooks."""
    pages = [path for folder in ("docs", "examples") for path in (ROOT / folder).rglob("*") if path.suffix in TEXTS]
    files = MODULES | {str(path.relative_to(ROOT)): path for path in pages}
    written = {name: re.findall(r"\{[^{}\n]+:[^{}\n]*%\}", path.read_text("utf-8")) for name, path in files.items()}
    assert len(files) > len(MODULES)
    assert {name: found for name, found in written.items() if found} == {}
    assert re.search(r"\{[^{}\n]+:[^{}\n]*%\}", 'f"{share:.1%}"')


def closing(message: ast.expr) -> Iterator[ast.expr]:
    """What may end the message of an error: constants and f-strings."""
    if isinstance(message, ast.BinOp):
        yield from closing(message.right)
    elif isinstance(message, ast.IfExp):
        yield from (*closing(message.body), *closing(message.orelse))
    elif isinstance(message, ast.Constant | ast.JoinedStr):
        yield message


def test_no_period_ends_an_error():
    """One form for all: "error: ..." is no paragraph, and a hint may follow."""
    found = []
    for module, path in MODULES.items():
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("Error") and node.args:
                said = [ast.unparse(end).rstrip("\"'") for end in closing(node.args[0])]
                found += [f"{module}:{node.lineno}" for text in said if re.search(r"(?<!\.\.)\.$", text)]
    assert found == []


@pytest.mark.parametrize("path", sorted((ROOT / "benchmarks").glob("*.py")), ids=lambda path: path.stem)
def test_what_a_benchmark_imports_is_there_or_its_header_says_how_to_get_it(path):
    """One command repeats each number: none ends after minutes for want of a package that nothing names."""
    parsed = tree(path)
    named = {alias.name for node in ast.walk(parsed) if isinstance(node, ast.Import) for alias in node.names}
    named |= {node.module for node in ast.walk(parsed) if isinstance(node, ast.ImportFrom) and node.module}
    header = ast.get_docstring(parsed) or ""
    for name in {module.partition(".")[0] for module in named}:
        beside = (path.parent / f"{name}.py").exists()
        assert beside or find_spec(name) or re.search(rf"pip install[^`]* {WHEELS.get(name, name)}\b", header), name


def test_the_lowest_versions_are_those_that_are_tested():
    extras = PROJECT["project"]["optional-dependencies"]
    lines = (ROOT / "constraints-min.txt").read_text(encoding="utf-8").splitlines()
    tested = dict(line.split("==") for line in lines if not line.startswith("#"))
    asked = [*PROJECT["project"]["dependencies"], *(word for name in TESTED_EXTRAS for word in extras[name])]
    bounds = {word.name: word.specifier for word in map(Requirement, asked) if word.name != "codivide"}
    assert bounds.keys() <= tested.keys()
    for name, specifier in bounds.items():
        (bound,) = specifier
        assert (bound.operator, Version(bound.version)) == (">=", Version(tested[name])), name


def test_ci_runs_the_same_command_on_every_python():
    yaml = pytest.importorskip("yaml")
    jobs = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8"))["jobs"]
    pythons = jobs["test"]["strategy"]["matrix"]["python"]
    assert pythons == ["3.11", "3.12", "3.13"]
    assert PROJECT["project"]["requires-python"] == f">={pythons[0]}"
    assert [step["run"] for step in jobs["test"]["steps"] if "run" in step] == [".ci/run"]


def test_the_hooks_of_pre_commit_are_commands_of_the_makefile():
    clientlib = pytest.importorskip("pre_commit.clientlib")
    config = clientlib.load_config(str(ROOT / ".pre-commit-config.yaml"))
    targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    assert {repository["repo"] for repository in config["repos"]} == {"local"}
    entries = [hook["entry"] for repository in config["repos"] for hook in repository["hooks"]]
    assert entries == ["make lint", "make types"]
    assert {entry.removeprefix("make ") for entry in entries} <= set(targets)


def test_the_markers_that_the_fast_tests_leave_out_are_registered():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    fast = re.search(r"^FAST := not \((.*)\)$", makefile, re.MULTILINE)
    assert fast is not None
    left_out = set(fast.group(1).split(" or "))
    registered = {line.split(":")[0] for line in PROJECT["tool"]["pytest"]["ini_options"]["markers"]}
    assert left_out == registered - {"data", "gpu"}
