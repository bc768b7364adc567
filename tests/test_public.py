"""The public interface is what tests/public_names.txt lists; a name that goes warns first.

``python tests/test_public.py`` writes the list anew: look at what has changed, and say it in CHANGELOG.md.
"""

import doctest
import inspect
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import codivide
from codivide import audit
from codivide.core import deprecation
from codivide.core.version import VERSION

ROOT = Path(__file__).parents[1]
LISTED = Path(__file__).with_name("public_names.txt")


def lines() -> Iterator[str]:
    """Every public name with its parameters; of a class also its public methods and properties."""
    for module, names in (("codivide", codivide.__all__), ("codivide.audit", audit.__all__)):
        for name in names:
            found = getattr(audit if module.endswith("audit") else codivide, name)
            yield f"{module}.{name}{signature(found)}"
            if inspect.isclass(found) and not issubclass(found, Exception):
                for member in sorted(vars(found)):
                    value = vars(found)[member]
                    if not member.startswith("_") and (inspect.isfunction(value) or isinstance(value, property)):
                        yield f"{module}.{name}.{member}{signature(value)}"


def signature(found: object) -> str:
    """Names and defaults of the parameters; annotations may become more exact without a word."""
    if not callable(found) or (inspect.isclass(found) and issubclass(found, Exception)):
        return ""
    parameters = inspect.signature(found).parameters.values()
    return "(" + ", ".join(str(p.replace(annotation=inspect.Parameter.empty)) for p in parameters) + ")"


def test_the_public_interface_is_as_listed():
    now, before = list(lines()), LISTED.read_text(encoding="utf-8").splitlines()
    gone, new = sorted(set(before) - set(now)), sorted(set(now) - set(before))
    assert (gone, new) == ([], []), "if this is meant: python tests/test_public.py, and a line in CHANGELOG.md"


def test_a_renamed_name_works_and_warns(monkeypatch):
    monkeypatch.setitem(codivide._RENAMED, "report_noise", ("noise_report", "0.3.0"))
    with pytest.warns(FutureWarning, match="codivide.report_noise goes with version 0.3.0; use codivide.noise_report"):
        assert codivide.report_noise is codivide.noise_report
    with pytest.raises(AttributeError):
        _ = codivide.never_there


def test_no_name_outlives_its_time():
    for old, (new, until) in codivide._RENAMED.items():
        assert new in codivide.__all__, old
        assert tuple(map(int, until.split("."))) > tuple(map(int, VERSION.split("."))), old


def test_the_example_of_the_helper():
    assert doctest.testmod(deprecation).failed == 0


def test_the_version_has_one_place():
    assert re.fullmatch(r"\d+\.\d+\.\d+", VERSION)
    assert codivide.__version__ == VERSION
    cited = re.search(r"^version: (.*)$", (ROOT / "CITATION.cff").read_text(encoding="utf-8"), re.MULTILINE)
    assert cited is not None
    assert cited.group(1) == VERSION


def test_the_files_of_a_release_are_well_formed():
    yaml = pytest.importorskip("yaml")
    forms = sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml"))
    assert len(forms) == 3
    for path in forms:
        form = yaml.safe_load(path.read_text(encoding="utf-8"))
        assert {"name", "description", "body"} <= form.keys()
        assert any(part.get("validations", {}).get("required") for part in form["body"])
    publish = yaml.safe_load((ROOT / ".github" / "workflows" / "publish.yml").read_text(encoding="utf-8"))
    assert publish[True] == {"push": {"tags": ["v*"]}}  # YAML reads "on" as true
    assert publish["jobs"]["publish"]["needs"] == "build"
    assert publish["jobs"]["publish"]["permissions"] == {"id-token": "write"}
    copied = re.findall(r"^COPY (.*) \S+$", (ROOT / "Dockerfile").read_text(encoding="utf-8"), re.MULTILINE)
    let_in = re.findall(r"^!(.*)$", (ROOT / ".dockerignore").read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(" ".join(copied).split()) == sorted(let_in)
    assert all((ROOT / name).exists() for name in let_in)


@pytest.mark.process
def test_importing_and_asking_for_public_names_costs_no_torch():
    code = "import sys, codivide; dir(codivide); codivide.InputError; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


if __name__ == "__main__":
    LISTED.write_text("\n".join(lines()) + "\n", encoding="utf-8")
    print(f"written: {LISTED}")
