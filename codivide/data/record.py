"""What a run was trained on: one record, which command line, estimator and bench write, and audit and clean read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Self

from codivide.core.files import expand_user
from codivide.data import named
from codivide.data.database import absolute_database, is_database
from codivide.data.options import DEFAULT, ReadOptions, text, typed, whole


@dataclass(frozen=True)
class DataRecord:
    """What a run was trained on, and what was done to it first.

    Attributes:
        path: the file, the folder, or the name of a public set, as it was given; None: data in memory.
        options: how it was read.
        test: where the test part came from; None: from the source, if anywhere.
        truth: the file of true labels.
        noise: with which the labels were spoiled, such as "symmetric:0.4".
        limit: samples of a random part.
        labels_per_class: labels that were not hidden.
        labels: the same of all classes together, as frequent as these are.
        class_weight: how classes were weighed, as text (see ``data.weights``).
        expand: the view of which every image got a copy.
        folder: where relative paths start.
    """

    path: str | None = None
    options: ReadOptions = DEFAULT
    test: str | None = None
    truth: str | None = None
    noise: str | None = None
    limit: int | None = None
    labels_per_class: int | None = None
    labels: int | None = None
    class_weight: str | None = None
    expand: str | None = None
    folder: str = ""

    @classmethod
    def of(cls, source: object, options: ReadOptions, **done: Any) -> Self:
        """The record of a source that is read here and now; ``done``: the other fields that are set."""
        path = str(source) if isinstance(source, str | Path) else None
        return cls(path=path, options=options, folder=str(Path.cwd()), **done)

    @classmethod
    def of_run(cls, settings: Mapping[str, Any]) -> Self:
        """The record in the settings or the summary of a run.

        Raises:
            InputError: it says what this version does not know.
        """
        return cls.from_dict(settings.get("source", {}))

    def to_dict(self) -> dict[str, Any]:
        """What differs from the default, as JSON values."""
        held = {item.name: getattr(self, item.name) for item in fields(self)} | {"options": self.options.to_dict()}
        return {name: value for name, value in held.items() if value not in (None, "", {})}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """The record that ``to_dict`` wrote.

        Raises:
            InputError: an entry that is not known, or a value of another type.
        """
        return cls(**typed(values, _KINDS, "entry of a run's source"))

    @property
    def named(self) -> bool:
        """Whether it is a public set, which has no place of its own."""
        return self.path in named.names()

    def root(self) -> Path | None:
        """The file or the folder, absolute, wherever the caller stands; it may be gone. None: there never was one."""
        return None if self.path is None or self.named or is_database(self.path) else self._place(self.path)

    def location(self) -> str | None:
        """What ``load`` takes to read the source again; None where it was in memory."""
        if self.path is not None and is_database(self.path):
            return absolute_database(self.path, Path(self.folder))
        root = self.root()
        return self.path if root is None else str(root)

    def reading(self) -> ReadOptions:
        """How to read the source again, wherever the caller stands."""
        answers = self.options.answers
        return self.options if answers is None else replace(self.options, answers=self._place(str(answers)))

    def _place(self, name: str) -> Path:
        path = expand_user(name)
        recorded = Path(self.folder) / path
        # Where the caller stands may lie another "photos"; it counts only where the run's own is gone.
        return (path if path.exists() and not recorded.exists() else recorded).absolute()


def _options(value: Any) -> ReadOptions:
    if not isinstance(value, Mapping):
        raise TypeError("an object of options")
    return ReadOptions.from_dict(value)


_KINDS: Mapping[str, Callable[[Any], Any]] = {
    "path": text,
    "options": _options,
    "test": text,
    "truth": text,
    "noise": text,
    "limit": whole,
    "labels_per_class": whole,
    "labels": whole,
    "class_weight": text,
    "expand": text,
    "folder": text,
}
