"""Files that are there as a whole or not at all, and never instead of another."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from step_audit.errors import RefusedError, writing


@contextmanager
def new_file(path: Path) -> Iterator[BinaryIO]:
    """A file to write, which gets its name at the end of the block, if nothing failed in it.

    Raises:
        RefusedError: there is a file of that name; it is left as it is.
        OSError: it cannot be written.
    """
    _refuse_existing(path)
    with writing(path):
        descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        try:
            with open(descriptor, "wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            # The rights that a new file has by the umask; mkstemp gives its own to nobody else.
            mask = os.umask(0)
            os.umask(mask)
            Path(name).chmod(0o666 & ~mask)
            try:
                # Unlike a rename it fails where the name is taken.
                os.link(name, path)
            except FileExistsError:
                raise _taken(path) from None
        finally:
            Path(name).unlink()


def _refuse_existing(path: Path) -> None:
    if os.path.lexists(path):
        raise _taken(path)


def _taken(path: Path) -> RefusedError:
    return RefusedError(
        f"{path} is there already and is left as it is; nothing was written. Name another file."
    )
