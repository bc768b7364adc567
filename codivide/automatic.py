"""The value "auto": chosen from the data by ``codivide.choose``, else the paper's."""

from __future__ import annotations

from typing import Final, Literal

Auto = Literal["auto"]
AUTO: Final = "auto"
