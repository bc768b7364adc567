"""Choosing method and settings from the data: a scout, a rule, and a comparison with plain training."""

from codivide.choose.rule import Decision, Evidence, decide
from codivide.choose.run import execute

__all__ = ["Decision", "Evidence", "decide", "execute"]
