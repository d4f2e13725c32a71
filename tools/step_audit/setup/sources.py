"""The SQL files that make up a release: ``functions/`` is code, ``sql/`` is what is migrated."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath

_PACKAGE = Path(__file__).parents[1]


@dataclass(frozen=True)
class SourceFile:
    """One SQL file; ``path`` is relative, for instance ``functions/read/list_step_audits.sql``."""

    path: str
    text: str

    @property
    def name(self) -> str:
        """The file's name, for a function its SQL name too."""
        return PurePosixPath(self.path).stem

    @property
    def is_migration(self) -> bool:
        """Whether the file is applied once (``sql/``) and not whenever it changed."""
        return self.path.startswith("sql/")

    @cached_property
    def sha256(self) -> str:
        """SHA-256 of the text in UTF-8, hexadecimal."""
        return hashlib.sha256(self.text.encode()).hexdigest()

    @property
    def release(self) -> str:
        """The release that brought a migration, from its first line: ``-- 0.1.0: …``."""
        return self.text.removeprefix("-- ").partition(":")[0]


@dataclass(frozen=True)
class Sources:
    """All files of a release, in the order in which they are applied.

    ``releases`` are those of the changelog, newest first.
    """

    files: tuple[SourceFile, ...]
    releases: tuple[str, ...]

    @property
    def release(self) -> str:
        """The release that the files make up."""
        return self.releases[0]

    @property
    def digests(self) -> dict[str, str]:
        """SHA-256 by path."""
        return {file.path: file.sha256 for file in self.files}

    @property
    def functions(self) -> tuple[SourceFile, ...]:
        """The files of ``functions/``."""
        return tuple(file for file in self.files if not file.is_migration)

    @property
    def migrations(self) -> tuple[SourceFile, ...]:
        """The files of ``sql/``."""
        return tuple(file for file in self.files if file.is_migration)


def load_sources(root: Path | None = None) -> Sources:
    """Read the sources below ``root``: by default those of the installed package or checkout."""
    root = root or _default_root()
    files = tuple(
        SourceFile(path.relative_to(root).as_posix(), path.read_text(encoding="utf-8"))
        for pattern in ("sql/*.sql", "functions/*/*.sql")
        for path in sorted(root.glob(pattern))
    )
    changelog = (root / "CHANGELOG.md").read_text(encoding="utf-8")
    return Sources(files, tuple(re.findall(r"^## (\d+\.\d+\.\d+)", changelog, re.MULTILINE)))


def release_key(release: str) -> tuple[int, ...]:
    """Order of releases: ``0.10.0`` comes after ``0.9.1``."""
    return tuple(int(part) for part in release.split("."))


def _default_root() -> Path:
    installed = _PACKAGE / "package"
    return installed if installed.is_dir() else _PACKAGE.parents[1]
