"""The keys that callers show: kept as hashes, compared in constant time."""

from __future__ import annotations

import hashlib
import hmac
import os
from collections.abc import Iterable
from pathlib import Path

from step_audit.errors import TrustError, UsageError
from step_audit.small_files import read_text


class Keys:
    """The accepted keys. None of them: everybody is let in."""

    def __init__(self, keys: Iterable[str]) -> None:
        self._digests = [_digest(key) for key in keys if key]

    def __bool__(self) -> bool:
        """Whether there are any."""
        return bool(self._digests)

    def accept(self, key: str | None) -> bool:
        """Whether ``key`` is one of them; takes the same time whichever it is."""
        shown = _digest(key or "")
        return sum(hmac.compare_digest(shown, digest) for digest in self._digests) > 0

    def sign(self, key: str, text: str) -> str:
        """What proves that ``text`` comes from whoever knew ``key``, and does not tell the key."""
        return _signature(_digest(key), text)

    def is_signed(self, text: str, signature: str) -> bool:
        """Whether :meth:`sign` gave it by one of the accepted keys."""
        shown = signature.encode()
        signed = (_signature(digest, text).encode() for digest in self._digests)
        return sum(hmac.compare_digest(shown, each) for each in signed) > 0


def load_keys(key_file: Path | None) -> Keys:
    """Keys of a file, one a line (``#`` begins a comment), else of ``STEP_AUDIT_KEYS``, by commas.

    Raises:
        UsageError: the file cannot be read or holds no key, or a key cannot stand in a header.
    """
    if key_file is None:
        keys = [key.strip() for key in os.environ.get("STEP_AUDIT_KEYS", "").split(",")]
        return _checked("STEP_AUDIT_KEYS", [key for key in keys if key])
    try:
        text = read_text(key_file, or_stdin=True, undone="nothing is served")
    except OSError as error:
        raise UsageError(f"the key file {key_file} cannot be read: {error.strerror}.") from error
    except TrustError as error:
        raise UsageError(f"the key file {error}") from error
    lines = [line.strip() for line in text.splitlines()]
    keys = [line for line in lines if line and not line.startswith("#")]
    if not keys:
        raise UsageError(f"the key file {key_file} holds no key. Write one key a line.")
    return _checked(f"the key file {key_file}", keys)


def _checked(source: str, keys: list[str]) -> Keys:
    if not all(key.isascii() and key.isprintable() for key in keys):
        raise UsageError(
            f"{source} holds a key that cannot be sent in a header. Use printable ASCII."
        )
    return Keys(keys)


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest()


def _signature(digest: bytes, text: str) -> str:
    return hmac.new(digest, b"step-audit session " + text.encode(), hashlib.sha256).hexdigest()
