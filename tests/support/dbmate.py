"""dbmate, a tool that runs migrations, from its npm package."""

from __future__ import annotations

import platform
import subprocess
from pathlib import Path

_VERSION = "2.36.0"
_MACHINES = {"x86_64": "x64", "aarch64": "arm64"}
_CACHE = Path(__file__).parents[2] / ".cache" / "dbmate"


def dbmate() -> Path:
    """The program, fetched once."""
    folder = _CACHE / _VERSION
    program = folder / "package" / "bin" / "dbmate"
    if not program.exists():
        folder.mkdir(parents=True, exist_ok=True)
        package = f"@dbmate/linux-{_MACHINES[platform.machine()]}@{_VERSION}"
        packed = subprocess.run(
            ["npm", "pack", "--silent", package],
            cwd=folder,
            check=True,
            capture_output=True,
            text=True,
        )
        archive = packed.stdout.split()[-1]
        subprocess.run(["tar", "-xzf", archive, "--no-same-owner"], cwd=folder, check=True)
    return program
