"""Names of types that more than one wing uses, and the value "auto"."""

from __future__ import annotations

from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

Labels = NDArray[np.int64]
AnyLabels = NDArray[np.integer[Any]]
Floats = NDArray[np.float64]
AnyFloats = NDArray[np.floating[Any]]
Singles = NDArray[np.float32]
Mask = NDArray[np.bool_]

#: A setting that is chosen from the data (``fit.choose_rule``), else the paper's.
Auto = Literal["auto"]
AUTO: Final = "auto"

#: The class number of a sample without a label.
UNLABELLED: Final = -1
