"""The first rounds of one seed: what ``tox -e chaos`` does longer, with more of them."""

from __future__ import annotations

from pathlib import Path

from tests.chaos.run import run_seed


def test_what_is_acknowledged_is_audited_once(server_folder: Path, tmp_path: Path) -> None:
    folder = server_folder / "chaos"
    folder.mkdir(mode=0o755)
    run_seed(148, folder, tmp_path, rounds=3)
