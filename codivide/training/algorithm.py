"""What every method is, whether it trains networks or not: a name, hyper-parameters, and what they may be."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

from codivide.core.errors import check_values
from codivide.core.types import AUTO


@dataclass
class Algorithm:
    """A method: the fields of a subclass are its hyper-parameters, the class variables say what it is.

    Raises:
        InputError: a hyper-parameter beyond its ``limits``, or a word that is not among its ``choices``.
    """

    trains: ClassVar[bool] = False  # whether ``training.loop.train`` takes it: it trains networks over epochs
    semi_supervised: ClassVar[bool] = False  # whether it is made for data of which most have no label
    weighs: ClassVar[bool] = False  # whether samples may have weights: its loss is a mean over samples
    sets_aside: ClassVar[bool] = False  # whether labels that look wrong are no targets, and so are not memorised
    paper: ClassVar[str] = ""
    summary: ClassVar[str] = ""
    limits: ClassVar[Mapping[str, tuple[float, float]]] = {}  # least and most value of a hyper-parameter
    choices: ClassVar[Mapping[str, tuple[str, ...]]] = {}  # the words that a hyper-parameter knows
    automatic: ClassVar[Mapping[str, Any]] = {}  # what may be "auto", with the paper's value
    settings: ClassVar[Mapping[str, Any]] = {}  # fields of the plan that the method wants unless told otherwise

    def __post_init__(self) -> None:
        check_values(self, self.limits, self.choices, self.unsettled())

    def setting(self, name: str) -> Any:
        """A hyper-parameter; the paper's value where it is "auto" and nothing has been chosen."""
        value = getattr(self, name)
        return self.automatic[name] if value == AUTO and name in self.automatic else value

    def unsettled(self) -> tuple[str, ...]:
        """The hyper-parameters that are still "auto"."""
        return tuple(name for name in self.automatic if getattr(self, name) == AUTO)

    def settled(self, **chosen: Any) -> Self:
        """The method without "auto": what is chosen, else the paper's value; what is not "auto" stays."""
        return replace(self, **{name: chosen.get(name, self.automatic[name]) for name in self.unsettled()})
