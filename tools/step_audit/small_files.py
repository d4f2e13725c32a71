"""Small files from outside, read so that no name can stop or fill a command.

A named pipe is never at its end, nor is a device: only regular files are opened by their names.
"""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path
from typing import BinaryIO

from step_audit.errors import TrustError, UsageError

MAX_NOTE = 2 * 2**20
"""Bytes of a checkpoint, a consistency proof or a key."""

MAX_LIST = 64 * 2**20
"""Bytes of a list of keys, a million and a half of them."""

MAX_PROOF = 256 * 2**20
"""Bytes of a proof, which has a whole result in it."""

# What the shell hands over by a name, as it does for <(command).
_HANDED_OVER = ("/dev/fd", "/proc/self/fd")
# Each where the system has it.
_AS_IT_IS = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
_STDIN = frozenset({"-", "/dev/stdin"})


def read_text(
    path: Path,
    most: int = MAX_NOTE,
    *,
    or_stdin: bool = False,
    undone: str = "nothing was checked or signed",
) -> str:
    """The text of a small file.

    Args:
        path: a regular file.
        most: bytes that it may have.
        or_stdin: whether ``-`` is standard input, and a pipe that the shell hands over is read too.
        undone: what an error says of what was not done.

    Raises:
        OSError: it cannot be opened or read.
        UsageError: it is a folder.
        TrustError: it is no regular file, too large, or not UTF-8.
    """
    if or_stdin and str(path) in _STDIN:
        content = _read(path, sys.stdin.buffer, most, undone)
    elif path.is_dir():
        raise UsageError(f"{path} is a folder, and not a file; nothing was done. Name the file.")
    else:
        # A pipe that nobody writes to is opened without waiting.
        descriptor = os.open(path, os.O_RDONLY | _AS_IT_IS)
        with open(descriptor, "rb") as file:
            kind = os.fstat(descriptor).st_mode
            if or_stdin and stat.S_ISFIFO(kind) and str(path.parent) in _HANDED_OVER:
                os.set_blocking(descriptor, True)
            elif not stat.S_ISREG(kind):
                raise _no_file(path, kind, undone)
            content = _read(path, file, most, undone)
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise TrustError(f"{path} is not text in UTF-8; {undone}. Is it the right file?") from error


def _read(path: Path, file: BinaryIO, most: int, undone: str) -> bytes:
    content = file.read(most + 1)
    if len(content) > most:
        larger = f"{most // 2**20} MiB"
        hint = "A proof without its result, 'step-audit prove --without-result', is small. "
        raise TrustError(
            f"{path} has more than {larger}; {undone}. "
            f"{hint if most == MAX_PROOF else ''}Is it the right file?"
        )
    return content


def _no_file(path: Path, kind: int, undone: str) -> TrustError:
    what = "a pipe" if stat.S_ISFIFO(kind) else "a device"
    return TrustError(
        f"{path} is {what}, and not a file; {undone}. Name the file, or take it out of the folder."
    )
