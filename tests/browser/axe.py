"""axe-core, which finds what keeps people from a page; ``python -m tests.browser.axe`` gets it."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

from playwright.sync_api import Page

_VERSION = "4.14.1"
_CACHE = Path(__file__).parents[2] / ".cache" / "axe"
_SCRIPT = _CACHE / _VERSION / "package" / "axe.min.js"


def download() -> None:
    """Fetch and unpack it unless it is there."""
    if _SCRIPT.exists():
        return
    folder = _CACHE / f"{_VERSION}.part"
    folder.mkdir(parents=True, exist_ok=True)
    packed = subprocess.run(
        ["npm", "pack", "--silent", f"axe-core@{_VERSION}"],
        cwd=folder,
        check=True,
        capture_output=True,
        text=True,
    )
    subprocess.run(["tar", "-xzf", packed.stdout.split()[-1]], cwd=folder, check=True)
    folder.rename(_CACHE / _VERSION)


def violations(page: Page) -> list[str]:
    """What axe finds on the page as it is shown, by its rules of all kinds."""
    # Through the debugger, which the page's policy is not asked about.
    page.evaluate(_SCRIPT.read_text(encoding="utf-8"))
    found: dict[str, Any] = page.evaluate("axe.run()")
    assert len(found["passes"]) > 10
    return [
        f"{each['id']}: {node['html']}" for each in found["violations"] for node in each["nodes"]
    ]


if __name__ == "__main__":
    download()
