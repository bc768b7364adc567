"""How a public name goes: it warns first, says what to use instead, and is gone in a version that it names.

A name of ``codivide.__all__`` or ``codivide.audit.__all__``, a parameter of one, a command or a flag works for at least
one minor version after its first warning.
"""

from __future__ import annotations

import warnings


def warn_deprecated(what: str, instead: str, *, until: str, stacklevel: int = 3) -> None:
    """Warn that something goes.

    Args:
        what: as the caller wrote it, such as ``codivide.fit``.
        instead: what to write now.
        until: the version in which it is gone, such as "0.3.0".
        stacklevel: of the line that is blamed; 3: the caller of the function that warns.

    Example:
        >>> import warnings
        >>> with warnings.catch_warnings(record=True) as said:
        ...     warn_deprecated("fit(labels=)", "fit(y=)", until="0.3.0")
        >>> print(said[0].message)
        fit(labels=) goes with version 0.3.0; use fit(y=)
    """
    warnings.warn(f"{what} goes with version {until}; use {instead}", FutureWarning, stacklevel=stacklevel)
