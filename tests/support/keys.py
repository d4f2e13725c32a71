"""Private keys in files, as their owners keep them."""

from __future__ import annotations

from pathlib import Path

from step_audit.trust.note import SignerKey


def write_key(path: Path, key: SignerKey) -> str:
    """Write a key into a new file that nobody else can read; gives its name."""
    path.touch(mode=0o600)
    path.write_text(f"{key.to_text()}\n")
    return str(path)
