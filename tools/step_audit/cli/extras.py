"""What only an extra of the package brings: where it is missing, how to get it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from step_audit.errors import RefusedError


@contextmanager
def extra(name: str) -> Iterator[None]:
    """Within, modules are imported that need the extra of this name.

    Raises:
        RefusedError: one of them is not installed.
    """
    try:
        yield
    except ImportError as error:
        raise RefusedError(
            f"{error.name} is not installed. Install it: pip install 'step-audit[{name}]'."
        ) from error
