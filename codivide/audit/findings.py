"""What an audit from Python gives back."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from codivide.audit.checks import CHECKS, looked_for
from codivide.core.by_value import ByValue
from codivide.core.words import look_wrong
from codivide.data.corrections import Decided, read_corrections
from codivide.data.options import CLASSES
from codivide.runs import label_table
from codivide.runs.folder import TOO_LITTLE, USELESS

if TYPE_CHECKING:
    from codivide.audit.clean import Cleaned

CREATED = "created"  # among the facts: when they were made
_SHOWN = 10  # issues in a notebook
_TAKES = "it takes features in which like samples are near (for duplicates, images or texts do), and enough samples"


@dataclass(eq=False)
class Findings(ByValue):
    """Judged labels with the facts about them; ``print`` and a notebook show a summary.

    Two are equal where labels, facts and page are the same, whenever each of them was made.

    Attributes:
        labels: every sample with given and suggested label, ``clean_prob`` and the rest of ``label_table.build``.
        facts: see ``codivide.audit.collect``.
        page: the report that was written last.
        earlier: the record of decisions that the fit learned from (see ``Corrections.record``); empty: there were none.
        verdict: of the fit on itself, as in ``summary.json``; empty: nothing was trained.
    """

    labels: pd.DataFrame
    facts: dict[str, Any]
    page: Path | None = None
    earlier: Mapping[str, Any] = field(default_factory=dict)
    verdict: str = ""

    def _compared(self) -> dict[str, Any]:
        return vars(self) | {"facts": {name: value for name, value in self.facts.items() if name != CREATED}}

    @property
    def label_issues(self) -> pd.DataFrame:
        """The samples whose suggestion differs from the given label, the least likely to be clean first.

        It has the columns of what was looked for; ``labels`` has all.
        """
        return looked_for(self.labels, label_table.issues(self.labels))

    @property
    def clean_prob(self) -> np.ndarray[Any, np.dtype[np.float64]]:
        """``[N]`` probability that each given label is right; NaN where there is none."""
        return self.labels[label_table.CLEAN_PROB].to_numpy(dtype=np.float64, na_value=np.nan)

    @property
    def is_useless(self) -> bool:
        """Whether the fit itself says that too little was learned for it to be used."""
        return self.verdict == TOO_LITTLE

    def clean(
        self, corrections: Decided = None, *, drop_below: float | None = None, relabel_above: float | None = None
    ) -> Cleaned:
        """Repair the labels, as the command ``codivide clean`` does.

        With neither rule and no decisions, each sample gets what makes the expected number of wrong labels smallest,
        and no more labels are taken for wrong than certainly are by the noise report (``NoiseReport.certain``), none
        where too little was learned, which the first remark then says.

        Args:
            corrections: decisions of a person: ``corrections.csv``, a data frame with its columns, or several files.
            drop_below: leave out what has a smaller p(clean), in [0, 1]; None: nothing.
            relabel_above: take the suggestion where its probability is larger, in [0, 1]; None: nowhere.

        Returns:
            ``labels``: id and label of the samples that stay, by their row; ``changes``: each with its reason, earlier
            decisions that ``fit(corrections=...)`` was given among them; ``remarks``: what is left, and how to go
            further.

        Raises:
            InputError: a threshold outside [0, 1], a decision that does not fit, or nothing that would be left.

        Example:
            >>> import numpy as np
            >>> from codivide import audit
            >>> y = np.repeat([0, 1], 50)
            >>> y[:5] = 1
            >>> probs = np.repeat([[0.98, 0.02], [0.02, 0.98]], 50, axis=0)
            >>> audit.from_probs(y, probs).clean().changes["change"].value_counts().to_dict()
            {'relabelled': 5}
        """
        from codivide.audit.clean import apply, since_source

        targets, labels = self.facts["targets"], self.labels.astype(object)
        cleaned = apply(
            labels,
            read_corrections(corrections),
            drop_below=drop_below,
            relabel_above=relabel_above,
            classes=self.facts["classes"] if targets is None else None,
            new_classes=targets is not None,
            task=CLASSES if targets is None else targets["kind"],
            certain=0.0 if self.is_useless else self.facts["noise"]["certain"],
        )
        cautions = [USELESS] if self.is_useless else []
        return since_source(cleaned, labels, self.facts["classes"], self.earlier, cautions)

    def report(self, path: str | Path = "audit.html") -> Path:
        """Write the report, one HTML file on which labels can be confirmed and corrected.

        Returns:
            The file.
        """
        from codivide.audit import render

        render.write(self.facts, Path(path))
        self.page = Path(path)
        return self.page

    def __repr__(self) -> str:
        noise, facts = self.facts["noise"], self.facts
        return (
            f"Findings({facts['name']}: {look_wrong(facts['issues_total'], facts['labelled'])}, "
            f"estimated {100 * noise['rate']:.1f} % ({100 * noise['low']:.1f} % to {100 * noise['high']:.1f} %), "
            f"trust {noise['trust']['level']})"
        )

    def __str__(self) -> str:
        """How many samples have each kind of issue, what was not found or looked for, and what is said of the data."""
        counts, none, missing = self._kinds()
        lines = [
            *[USELESS] * self.is_useless,
            repr(self),
            *[""] * bool(counts),
            *(f"  {name:<33}{count:>9,}" for name, count in counts.items()),
        ]
        told = {
            "Looked for and not found:": [", ".join(none)] * bool(none),
            "Not looked for:": [f"{', '.join(missing)}: {_TAKES}"] * bool(missing),
            "Of the data as a whole:": [item["text"] for item in self.facts["findings"]],
            "How far to trust this:": self.facts["noise"]["trust"]["reasons"],
        }
        for title, texts in told.items():
            lines += ["", title] * bool(texts)
            for text in texts:
                lines += textwrap.wrap(text, 98, initial_indent="- ", subsequent_indent="  ")
        return "\n".join(lines)

    def _kinds(self) -> tuple[dict[str, int], list[str], list[str]]:
        """How many samples have each issue, by its column; the issues that none has; and what was not looked for.

        Of images and of tables there are further kinds, and of numbers and several labels fewer.
        """
        counts: dict[str, int] = {}
        none: list[str] = []
        missing: list[str] = []
        checks = [check for check in CHECKS if self.facts["targets"] is None or not check.of_classes]
        for column in (column for check in checks for column in check.columns if column.name.endswith("_issue")):
            flags = self.labels[column.name]
            if flags.any():
                counts[column.name] = int(flags.sum())
            elif flags.notna().any():
                none.append(column.name)
            elif not column.when:
                missing.append(column.name)
        return counts, none, missing

    def _kinds_said(self) -> list[str]:
        """The same in up to three lines."""
        counts, none, missing = self._kinds()
        lines = {
            "": ", ".join(f"{name} {count:,}" for name, count in counts.items()),
            "looked for and not found: ": ", ".join(none),
            "not looked for: ": f"{', '.join(missing)}: {_TAKES}" if missing else "",
        }
        return [title + text for title, text in lines.items() if text]

    def _repr_html_(self) -> str:
        """A summary, the first issues, and a link to the report where one was written."""
        facts, noise = self.facts, self.facts["noise"]
        names = facts["classes"]
        rows = "".join(
            "<tr>"
            + "".join(
                f"<td>{cell}</td>"
                for cell in (
                    _picture(issue["thumbnail"]),
                    escape(issue["id"][:80]),
                    escape(names[issue["given"]][:40]),
                    escape(names[issue["suggested"]][:40]),
                    "" if issue["clean_prob"] is None else f"{issue['clean_prob']:.3f}",
                )
            )
            + "</tr>"
            for issue in facts["issues"][:_SHOWN]
        )
        heads = "".join(f"<th>{head}</th>" for head in ("", "sample", "given", "suggested", "p(clean)"))
        said = [*noise["trust"]["reasons"], *(item["text"] for item in facts["findings"]), *self._kinds_said()]
        said = [USELESS] * self.is_useless + said
        reasons = "".join(f"<li>{escape(text)}</li>" for text in said)
        link = (
            f'<p><a href="{escape(self.page.as_posix(), quote=True)}" target="_blank">Open the report</a></p>'
            if self.page
            else "<p>For the whole report: <code>.report('audit.html')</code></p>"
        )
        return (
            f"<p><b>{escape(facts['name'][:80])}</b>: {look_wrong(facts['issues_total'], facts['labelled'])}; "
            f"estimated noise {100 * noise['rate']:.1f} % ({100 * noise['low']:.1f} % to "
            f"{100 * noise['high']:.1f} %), trust {noise['trust']['level']}.</p><ul>{reasons}</ul>"
            f"<table><thead><tr>{heads}</tr></thead>"
            f"<tbody>{rows}</tbody></table>{link}"
        )


def _picture(uri: str | None) -> str:
    return f'<img alt="" src="{escape(uri, quote=True)}">' if uri else ""
