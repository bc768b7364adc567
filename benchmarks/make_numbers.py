"""The pages of numbers, made of ``results/``: ``docs/numbers.md`` and the table of README.

python benchmarks/make_numbers.py            # writes both
python benchmarks/make_numbers.py --check    # says whether they are up to date

No number is typed. Each row links the files that it is made of. A mean is over all files, seeds or cases of its row.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from codivide.bench import runner, store
from codivide.core.files import write_text

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "results"
PAGE, README = ROOT / "docs" / "numbers.md", ROOT / "README.md"
BEGIN, END = "<!-- made by: python benchmarks/make_numbers.py -->", "<!-- end -->"

Record = dict[str, Any]

#: The sets of benchmarks/default.py, in words.
NAMES = {
    "photos": "5,000 photos, 40 % in the wrong folder",
    "cifar10n-worse": "10,000 photos labelled by people in a hurry (CIFAR-10N worse)",
    "cifar10n-aggre": "10,000 photos labelled by three people each (CIFAR-10N aggre)",
    "youtube": "1,391 comments labelled by rules (YouTube)",
    "hausa": "2,045 headlines labelled by key words (Hausa)",
    "digits-5": "1,437 digits, 5 % drawn anew",
    "digits-20": "1,437 digits, 20 % drawn anew",
    "digits-40": "1,437 digits, 40 % drawn anew",
    "fashion-symmetric-40": "4,000 images of clothes, 40 % drawn anew",
    "fashion-asymmetric-40": "4,000 images of clothes, 40 % of some classes taken for another",
    "cifar10n-worse-50000": "50,000 photos labelled by one person each (CIFAR-10N worse)",
    "photos-224": "2,000 photos of CIFAR-10N worse, stretched to 224 pixels",
}


def read(path: str) -> Record:
    """A result file."""
    found: Record = json.loads((RESULTS / path).read_text(encoding="utf-8"))
    return found


_WORDS = ("", "result")  # heads of columns that hold words


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; columns of numbers to the right, and of words (the first, those without a head) to the left."""
    sides = ("---|" if not k or name in _WORDS else "---:|" for k, name in enumerate(head))
    lines = ["| " + " | ".join(head) + " |", "|" + "".join(sides)]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)])


def number(value: float | None, digits: int = 3) -> str:
    """As a share between 0 and 1, without the zero before the point."""
    return "" if value is None else f"{value:.{digits}f}".removeprefix("0") if value < 1 else f"{value:.{digits}f}"


def seconds(value: float | None) -> str:
    """Seconds, whole ones where there are many."""
    return "" if value is None else f"{value:.1f}" if value < 10 else f"{value:,.0f}"


def percent(value: float | None) -> str:
    """A share in percent."""
    return "" if value is None else f"{100 * value:.1f} %"


def files(paths: Sequence[str], root: str = "../results") -> str:
    """Links to result files: by name where there are several."""
    if len(paths) == 1:
        return f"[file]({root}/{paths[0]})"
    return ", ".join(f"[{Path(path).stem}]({root}/{path})" for path in paths)


def mean(records: Sequence[Mapping[str, Any]], name: str) -> float | None:
    """The mean over records that have a number of this name."""
    found = [float(record[name]) for record in records if record.get(name) is not None]
    return fmean(found) if found else None


#: How a measure is written, by its name in the files.
FORMS: dict[str, Callable[[float | None], str]] = {
    **dict.fromkeys(("auroc", "ap", "average_precision", "f1", "quality_auroc"), number),
    **dict.fromkeys(("noise", "noise_rate", "estimated_rate", "test_accuracy", "balanced_accuracy"), percent),
    **dict.fromkeys(("consensus", "last", "best", "100", "500", "1000"), percent),
    **dict.fromkeys(("seconds", "cpu_seconds"), seconds),
}


def cells(records: Sequence[Mapping[str, Any]], *names: str) -> list[str]:
    """The means over records of the measures of these names, as they are written."""
    return [FORMS[name](mean(records, name)) for name in names]


def beside(name: str, rows: Mapping[str, Sequence[str]], link: str) -> list[list[str]]:
    """Rows of one set, one a competitor; the set and the link to its files stand in the first."""
    return [
        [name if i == 0 else "", label, *row, link if i == 0 else ""] for i, (label, row) in enumerate(rows.items())
    ]


def default_cases() -> dict[str, list[Record]]:
    """The results of benchmarks/default.py by set, in the order of NAMES."""
    found: dict[str, list[Record]] = defaultdict(list)
    for name, case in read("default.json")["cases"].items():
        found[name.partition("/")[0]].append(case)
    order = [*(name for name in NAMES if name in found), *(name for name in found if name not in NAMES)]
    return {name: found[name] for name in order}


def tables_cases() -> tuple[dict[str, list[Record]], list[str]]:
    """The results of benchmarks/tables.py by what was run, and their files."""
    found: dict[str, list[Record]] = defaultdict(list)
    paths = sorted((RESULTS / "tables").glob("*.json"))
    for path in paths:
        for case in read(f"tables/{path.name}")["cases"]:
            for name, result in case["results"].items():
                found[name].append(result)
    return found, [f"tables/{path.name}" for path in paths]


def readme() -> str:
    """The table of README."""

    def row(link: str, ours: list[Record], theirs: list[Record], plain: list[Record]) -> list[str]:
        ranked = [*cells(ours, "noise", "auroc"), *cells(theirs, "auroc")]
        return [link, *ranked, *(cell for group in (ours, theirs, plain) for cell in cells(group, "test_accuracy"))]

    rows = [
        row(
            f"[{NAMES[name]}](results/default.json)",
            *([case[key] for case in cases] for key in ("default", "cleanlab", "logistic_regression")),
        )
        for name, cases in default_cases().items()
        if name in NAMES
    ]
    found, paths = tables_cases()
    ours = found["codivide"]
    link = f"[{len(paths)} small tables, {len(ours)} cases, beside a forest](results/tables)"
    rows.append(row(link, ours, found["cleanlab, forest"], found["nothing, forest"]))
    head = ["data", "wrong labels", "found: codivide", "cleanlab", "new samples right: codivide", "cleanlab", "plain"]
    return table(head, rows)


def defaults() -> str:
    """The default beside plain training and cleanlab on the same features."""

    def row(group: list[Record]) -> list[str]:
        named = mean(group, "flagged")
        right = "" if named is None else f"{percent(mean(group, 'precision'))} of {named:,.0f}"
        return [*cells(group, "noise", "auroc", "ap"), right, *cells(group, "test_accuracy", "cpu_seconds")]

    keys = {"default": "codivide", "cleanlab": "cleanlab", "logistic_regression": "logistic regression"}
    rows: list[list[str]] = []
    for name, cases in default_cases().items():
        made = {words: row([case[key] for case in cases]) for key, words in keys.items()}
        rows += beside(NAMES.get(name, name), made, files(["default.json"]))
    head = ["data", "", "wrong", "AUROC", "average precision", "named ones wrong", "test accuracy", "CPU s", "result"]
    return table(head, rows)


def detection() -> str:
    """Features: sets of texts, music and images, several seeds."""
    runs: dict[str, list[Record]] = defaultdict(list)
    for record in store.read(RESULTS / "detection").values():
        runs[record["set"]].append(record)
    measures = ("auroc", "average_precision", "f1", "test_accuracy", "seconds")
    rows: list[list[str]] = []
    for name, found in runs.items():
        made = {
            label: ["", *cells([record["results"][label] for record in found], *measures)]
            for label in ("codivide", "cleanlab", "logistic regression")
        }
        made["codivide"][:1] = cells(found, "noise")
        rows += beside(f"`{name}`", made, files([f"detection/{store.GATHERED}"]))
    head = ["set", "", "wrong", "AUROC", "average precision", "F1", "test accuracy", "CPU s", "result"]
    return table(head, rows)


def tables() -> str:
    """Small tables with three kinds of noise."""
    found, paths = tables_cases()
    measures = ("auroc", "average_precision", "f1", "test_accuracy", "balanced_accuracy", "seconds")
    rows = [[name, str(len(group)), *cells(group, *measures)] for name, group in sorted(found.items())]
    head = ["", "cases", "AUROC", "average precision", "F1", "test accuracy", "balanced", "CPU s"]
    return f"{table(head, rows)}\n\nResults by set: {files(paths)}."


def probabilities() -> str:
    """Probabilities from elsewhere."""
    rows = []
    for name, found in read("pred_probs.json")["files"].items():
        rank, plain = found["rules"]["rank"], found["rules"]["p(given)"]
        rows.append(
            [
                f"`{name}`",
                f"{found['samples']:,}",
                *cells([found], "noise_rate", "estimated_rate"),
                *cells([rank], "auroc"),
                number(found["published_auroc"]),
                *cells([rank], "average_precision"),
                *cells([plain], "average_precision"),
                *(number(found["f1"][who]) for who in ("codivide", "argmax", "cleanlab")),
                *cells([found], "seconds"),
                files(["pred_probs.json"]),
            ]
        )
    head = ["file", "labels", "wrong", "estimated", "AUROC", "best published", "average precision", "of p(given)"]
    return table([*head, "F1 flagged", "argmax", "cleanlab", "CPU s", "result"], rows)


def crowd() -> str:
    """Several annotators."""
    parts = []
    for name, title in (("music_genre", "44 people, 700 songs"), ("youtube", "10 labelling rules, 1,586 comments")):
        rows = []
        for row, found in read(f"crowd/{name}.json")["rows"].items():
            right, tested = cells([found], "consensus", "test_accuracy")
            rows.append([row, right, tested or "one class only", files([f"crowd/{name}.json"])])
        parts.append(f"**{name}**: {title}\n\n" + table(["labels", "consensus right", "test accuracy", "result"], rows))
    link = files(["crowd/classifier.json"])
    rows = [
        [name, label, *cells([found], "consensus", "quality_auroc"), link]
        for name, group in read("crowd/classifier.json")["rows"].items()
        for label, found in group.items()
        if isinstance(found, dict)
    ]
    parts.append("**With a classifier**\n\n" + table(["answers", "consensus", "right", "AUROC", "result"], rows))
    return "\n\n".join(parts)


def beyond() -> str:
    """Numbers and several labels a row, beside cleanlab around the same model."""
    rows, paths = [], sorted((RESULTS / "beyond").glob("*.json"))
    for path in paths:
        record = read(f"beyond/{path.name}")
        found: dict[str, list[Record]] = defaultdict(list)
        for case in record["cases"]:
            for name, result in case["found"].items():
                found[name].append(result)
        score = "r2" if "r2" in found["codivide"][0] else "macro_f1"
        model = "ridge" if score == "r2" else "logistic"
        ways = ("codivide", f"codivide {model}", f"cleanlab {model}", "codivide forest", "cleanlab forest")
        ranked = [*(cell for way in ways for cell in cells(found[way], "auroc"))]
        learned = [number(mean(found[way], score)) for way in ("codivide", f"nothing {model}", "nothing forest")]
        link = files([f"beyond/{path.name}"])
        what = "numbers" if score == "r2" else "several labels"
        rows.append([f"`{record['set']}`", what, str(len(record["cases"])), *ranked, *learned, link])
    head = ["set", "targets", "cases", "AUROC: codivide", "linear", "cleanlab, linear", "forest", "cleanlab, forest"]
    return table([*head, "score: codivide", "nothing, linear", "nothing, forest", "result"], rows)


def elsewhere() -> str:
    """What other pages tell, so that every result is found from here."""
    rows = [
        [f"[{what}]({page})", f"`{command}`", ", ".join(f"[{name}](../results/{name})" for name in names)]
        for what, page, command, names in ELSEWHERE
    ]
    return table(["what", "command", "result"], rows)


def effort() -> str:
    """What is found in the first labels of the queue, by networks trained from scratch."""
    rows = []
    for record in store.read(RESULTS / "effort").values():
        found = record["result"]
        first = cells([found["precision"]], "100", "500", "1000")
        again = f", and {found['again']} epochs again" if "again" in found else ""
        made = [found["method"] + again, *first, *cells([found], "auroc", "test_accuracy", "seconds")]
        rows.append([f"`{record['set']}`, {record['net']}", *made, files([f"effort/{store.GATHERED}"])])
    head = ["set, network", "", "wrong of the first 100", "500", "1,000", "AUROC", "test accuracy", "CPU s", "result"]
    return table(head, rows)


def methods() -> str:
    """Every method under one protocol, as far as it has run."""
    rows = []
    for recipe in runner.find("first/*"):
        if found := runner.read(recipe, RESULTS / "recipes"):
            tested = cells([row["test_accuracy"] for row in found], "last", "best")
            ranked = cells([row["detection"] for row in found], "auroc")
            rows.append([f"`{recipe.name}`", *tested, *ranked, files([f"recipes/{store.GATHERED}"])])
    return table(["recipe", "test accuracy, last", "best, chosen with the test labels", "AUROC", "result"], rows)


#: Measured, and shown on another page: what, the page, the command, and the files below ``results``.
ELSEWHERE: list[tuple[str, str, str, tuple[str, ...]]] = [
    (
        "the estimated rate of wrong labels beside the true one",
        "explain/noise.md#measured",
        "python benchmarks/noise_estimate.py",
        ("noise/gathered.parquet",),
    ),
    (
        "rules that judge labels, side by side",
        "explain/noise.md#the-rules-side-by-side",
        "python benchmarks/rules.py --set worse --run RUN",
        ("rules/gathered.parquet",),
    ),
    (
        "which labels look like a rule",
        "explain/features.md#labels-that-look-like-a-rule",
        "python benchmarks/rule_like.py",
        ("benchmarks/rule_like.json",),
    ),
    (
        "other ways to fit again",
        "explain/features.md#what-there-is-to-gain",
        "python benchmarks/refits.py",
        ("refits.json",),
    ),
    (
        "labels that were shuffled, and seem to be predicted",
        "explain/features.md#the-rule",
        "python benchmarks/chance.py",
        ("chance.json",),
    ),
    (
        "how sure p(clean) is, and flags beside cleanlab's",
        "explain/features.md#how-sure-pclean-is",
        "python benchmarks/certainty.py",
        ("certainty.json",),
    ),
    (
        "noise that goes one way",
        "explain/features.md#noise-that-goes-one-way",
        "python benchmarks/one_way.py",
        ("one_way.json",),
    ),
    ("the neighbours' vote", "explain/features.md#the-vote", "python benchmarks/votes.py", ("votes.json",)),
    (
        "words, parts of words, or a network for texts",
        "reference/encoders.md",
        "python benchmarks/texts.py",
        ("texts.json",),
    ),
    (
        "the encoder of photos: speed, sides, stages",
        "explain/photos.md#what-makes-it-quick",
        "python benchmarks/encoder.py speed",
        ("encoder.json",),
    ),
    (
        "which images become features",
        "explain/photos.md#which-images-count-as-photos",
        "python benchmarks/which_images.py",
        ("which_images.json",),
    ),
    (
        "fine-tuning after the features",
        "explain/photos.md#fine-tuning-after-the-features",
        "python benchmarks/finetune.py --targets soft --seeds 2",
        ("finetune.json",),
    ),
    (
        "what `clean` leaves",
        "howto/clean.md#what-the-rule-leaves",
        "python benchmarks/clean.py",
        ("clean.json",),
    ),
    (
        "flags where few labels are wrong",
        "explain/p_clean.md#where-few-labels-are-wrong",
        "python benchmarks/flags.py --seeds 2",
        ("flags.json",),
    ),
    (
        "the same by probabilities from elsewhere",
        "explain/p_clean.md#where-few-labels-are-wrong",
        "python benchmarks/flags_of_probs.py --sets magic,vehicle,satimage --probs FOLDER",
        ("flags_of_probs.json",),
    ),
    (
        "what checking by hand is worth",
        "howto/clean.md#what-it-is-worth",
        "python benchmarks/corrections.py --out results/audit/corrections.json",
        ("audit/corrections.json",),
    ),
    ("copies in the data", "reference/data.md#copies-and-groups", "python benchmarks/copies.py", ("copies.json",)),
    (
        "what the checks of the audit find",
        "reference/audit.md#what-the-facts-mean",
        "python benchmarks/checks.py",
        ("checks.json",),
    ),
    (
        "small groups planted among photos",
        "reference/audit.md#what-the-facts-mean",
        "python benchmarks/outliers.py --out results/outliers.json",
        ("outliers.json",),
    ),
    (
        "simulated crowds",
        "howto/annotators.md#measured",
        "python benchmarks/crowd.py --probs DIR --out results/crowd",
        ("crowd/simulated.json",),
    ),
    (
        "from scratch at the cost of plain training",
        "methods/codivide.md#measured",
        "python benchmarks/deep.py run",
        ("deep.json",),
    ),
    (
        "DivideMix and plain training on a folder of photos",
        "methods/dividemix.md#measured",
        "codivide fit DEST/photos --method dividemix",
        ("photos/gathered.parquet",),
    ),
    (
        "the figures of Joint optimization",
        "methods/joint_optimization.md#figures",
        "python benchmarks/joint_optimization.py rates",
        tuple(f"joint_optimization/{name}.json" for name in ("losses", "pseudo", "rates", "recovery", "updated")),
    ),
    (
        "decisions and adversarial examples of mixup",
        "methods/mixup.md#decisions-and-adversarial-examples",
        "python benchmarks/mixup.py decision",
        ("mixup/adversarial.json", "mixup/decision.json"),
    ),
    ("mixup for a GAN", "lab/gan.md", "python examples/mixup_gan.py", ("examples/mixup_gan.json",)),
    (
        "speed on a CPU",
        "performance.md",
        "make bench",
        tuple(f"benchmarks/{name}.json" for name in ("augment", "mixture", "step", "step_small_cnn")),
    ),
    (
        "what a look at the training set costs",
        "explain/learning.md#what-it-costs",
        "python benchmarks/learning.py",
        ("benchmarks/learning.json",),
    ),
    (
        "what a step of few labels costs",
        "howto/few_labels.md#measured",
        "python benchmarks/semi_cost.py",
        ("benchmarks/semi_cost.json",),
    ),
    (
        "what an audit costs",
        "reference/audit.md#what-it-costs",
        "python benchmarks/audit.py",
        ("benchmarks/audit_facts.json",),
    ),
    (
        "the same where most labels look wrong",
        "reference/audit.md#what-it-costs",
        "python benchmarks/large.py issues",
        ("large.json",),
    ),
    (
        "minutes on a GPU",
        "performance.md#on-a-gpu",
        "python benchmarks/gpu.py",
        ("gpu/h200_accuracy.json", "gpu/h200_parity_speed.json"),
    ),
    ("large data on two cores", "performance.md#large-data", "python benchmarks/large.py rows", ("large.json",)),
    ("faults, really made", "reliability.md", "make test-faults", ("faults.json",)),
    (
        "another number of threads",
        "reliability.md#the-same-numbers-again",
        "python benchmarks/threads.py",
        ("threads.json",),
    ),
    (
        "the same bits after a move of code",
        "contributing.md",
        "python benchmarks/golden.py --check",
        ("golden.json",),
    ),
]

SECTIONS: list[tuple[str, str, Callable[[], str], str]] = [
    (
        "The default, with no option",
        "`python benchmarks/default.py`",
        defaults,
        "All see the same features: those that codivide's default makes. Of digits it makes none: it trains a network, "
        "and the other two see pixels. Of clothes it has the pixels beside the features, and the other two have not. "
        "*CPU s* of codivide has the encoding in it; the other two have not. Labels by key words or rules (Hausa, "
        "YouTube) look like truth to every method.",
    ),
    (
        "Texts, music and images as features",
        "`python benchmarks/detection.py`",
        detection,
        "Means over the seeds. Same features, same folds; cleanlab is version 2.9 around logistic regression.",
    ),
    (
        "Tables",
        "`python benchmarks/tables.py`",
        tables,
        "At most 600 training rows, uniform, class-dependent and instance-dependent noise. *nothing*: the model on the "
        "noisy labels. *one round*: without the second round of the heads. *truth*: the forest cross-fitted on the "
        "true labels, about what any detector could find with it; its accuracies are those of the forest fitted to all "
        "labels that are right. Without a second name it is codivide's default. scikit-clean (in an environment with "
        "scikit-learn 1.2, which it needs) and doubtlab have their default settings; doubtlab has no classifier.",
    ),
    (
        "Probabilities from elsewhere",
        "`python benchmarks/pred_probs.py FOLDER`",
        probabilities,
        "*best published*: the best of cleanlab's label scores, as published for the file. *of p(given)*: average "
        "precision of the probability of the given label. "
        "*F1*: of what is flagged, of all that the probabilities prefer another class for, and by cleanlab's "
        "`find_label_issues`. Rank and flags were chosen with these files in sight.",
    ),
    (
        "Several annotators",
        "`python benchmarks/crowd.py --probs DIR --out results/crowd`",
        crowd,
        "*crowdlab*: the equations of Goh, Tkachenko and Mueller (2022), which cleanlab has too.",
    ),
    (
        "Numbers and several labels a row",
        "`python benchmarks/beyond.py`",
        beyond,
        "A case is one kind and rate of wrong targets, and a seed. The AUROC is of wrong numbers, or of rows with a "
        "wrong label. *linear*: ridge or logistic regression inside; *forest*: a forest. Without either it is "
        "codivide's default. The score is R2 of numbers and macro F1 of several labels on a clean test part.",
    ),
    (
        "Networks trained from scratch: the first labels of the queue",
        "`python benchmarks/effort.py --set worse`",
        effort,
        "cleanlab: five folds of the same network, and a last training without the labels that it names. "
        "*again*: the same network from new weights, without the labels that it judges wrong.",
    ),
    (
        "Every method under one protocol",
        "`codivide bench run 'first/*'`",
        methods,
        "4,000 images of CIFAR-10, symmetric noise of 50 %, 70 epochs of a small network, one seed. These are not the "
        "papers' numbers: [recipes](reference/recipes.md) sets those beside ours, as far as they have run. What "
        "waits, and about how long it takes: [comparison](lab/comparison.md#what-waits).",
    ),
    (
        "Shown on other pages",
        "the command of its row",
        elsewhere,
        "With these, every file under `results/` is linked from this page.",
    ),
]

HEAD = """# Numbers

Everything that was measured, beside [cleanlab](https://github.com/cleanlab/cleanlab) and plain training. This page is
made of the files under `results/` by `python benchmarks/make_numbers.py`; no number is typed. Each set links its files,
which name commit, versions, hardware and seed. The command under each title repeats it. A file `gathered.parquet` holds
one result a row: `codivide.bench.store.read("results/detection")` gives them as they were written.

Words: **AUROC** is how often a wrong label is ranked before a right one (1 is perfect, .5 is chance). **Average
precision** is how clean the top of the ranking is. **Test accuracy** is the share of new samples classified right, by
true labels. True labels only score. Seconds are of one processor core. Other [terms](glossary.md).

What is not here: noisypy is not on the package index (`pip install noisypy` finds nothing), so it was not run. A GPU
has been used for minutes only ([performance](performance.md#on-a-gpu)).
"""


def page() -> str:
    """The whole page."""
    parts = [HEAD]
    for title, command, made, about in SECTIONS:
        parts.append(f"## {title}\n\nRepeat: {command}\n\n{made()}\n\n{about}\n")
    return "\n".join(parts)


def with_table(text: str) -> str:
    """README with its table made anew."""
    begin, end = re.escape(BEGIN), re.escape(END)
    made, count = re.subn(f"{begin}.*?{end}", lambda _: f"{BEGIN}\n\n{readme()}\n\n{END}", text, flags=re.DOTALL)
    if count != 1:
        raise SystemExit(f"README.md needs one table between {BEGIN!r} and {END!r}")
    return made


def main() -> None:
    """Write, or check."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 where a page is out of date")
    check = parser.parse_args().check
    old = False
    for path, made in ((PAGE, page()), (README, with_table(README.read_text(encoding="utf-8")))):
        if check:
            current = path.exists() and path.read_text(encoding="utf-8") == made
            old |= not current
            print(f"{path.relative_to(ROOT)}: {'up to date' if current else 'out of date'}")
        else:
            write_text(path, made)
            print(f"written: {path.relative_to(ROOT)}")
    sys.exit(int(old))


if __name__ == "__main__":
    main()
