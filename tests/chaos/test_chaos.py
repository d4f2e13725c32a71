"""Seeds of chaos; STEP_AUDIT_CHAOS_SEED runs another one, or one again."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.chaos.run import run_seed

_SEED = os.environ.get("STEP_AUDIT_CHAOS_SEED")
SEEDS = [int(_SEED)] if _SEED else [1, 2, 4, 5, 12]


@pytest.mark.parametrize("seed", SEEDS)
def test_what_is_acknowledged_is_audited_once(
    server_folder: Path, tmp_path: Path, seed: int
) -> None:
    folder = server_folder / f"chaos{seed}"
    folder.mkdir(mode=0o755)
    run_seed(seed, folder, tmp_path)
