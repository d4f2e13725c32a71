"""No name of a file stops a command, or fills its memory."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from step_audit.errors import StepAuditError, TrustError
from step_audit.small_files import MAX_NOTE, MAX_PROOF, read_text
from step_audit.trust.archive import find_newest, open_kept
from tests.support.command import STEP_AUDIT, environment, run
from tests.support.keys import write_key
from tests.support.sealed import SIGNER, VERIFIER_KEY, make_proof


def _pipe(path: Path) -> str:
    os.mkfifo(path, 0o600)
    return "is a pipe, and not a file"


def _device(path: Path) -> str:
    path.symlink_to("/dev/zero")
    return "is a device, and not a file"


def _large(path: Path) -> str:
    with path.open("wb") as file:
        file.truncate(2**40)
    path.chmod(0o600)
    return "MiB; nothing was checked or signed"


ODD: tuple[Callable[[Path], str], ...] = (_pipe, _device, _large)
KEY = ("--public-key", VERIFIER_KEY)
COMMANDS = {
    "verify-proof": ("verify-proof", "ODD", *KEY),
    "verify-proof, key": ("verify-proof", "PROOF", "--public-key", "ODD"),
    "verify-proof, several": ("verify-proof", "PROOF", "ODD", *KEY),
    "verify": ("verify", "--checkpoint", "ODD", *KEY),
    "verify from": ("verify", "--checkpoint", "PROOF", "--from-checkpoint", "ODD", *KEY),
    "consistency": ("consistency", "ODD", "ODD", *KEY),
    "prove": ("prove", "0199f3a2-0000-7000-8000-000000000001", "--checkpoint", "ODD", *KEY),
    "prove, list": ("prove", "--list", "ODD", "--out", "x", "--checkpoint", "PROOF", *KEY),
    "checkpoint, key": ("checkpoint", "--key", "ODD", "--first"),
    "checkpoint, after": ("checkpoint", "--key", "KEY", "--after", "ODD"),
    "checkpoint, folder": ("checkpoint", "--key", "KEY", "--folder", "FOLDER"),
    "watch": ("watch", "--once", "--key", "KEY", "--checkpoints", "FOLDER"),
}


@pytest.mark.parametrize("odd", ODD)
@pytest.mark.parametrize("command", COMMANDS)
def test_a_name_of_no_small_file_is_told(
    tmp_path: Path, odd: Callable[[Path], str], command: str
) -> None:
    folder = tmp_path / "checkpoints"
    folder.mkdir()
    path = folder / "x.checkpoint"
    said = odd(path)
    (tmp_path / "proof").write_text(make_proof(1, 3))
    named = {
        "ODD": str(path),
        "FOLDER": str(folder),
        "PROOF": str(tmp_path / "proof"),
        "KEY": write_key(tmp_path / "key", SIGNER),
    }
    done = run(*(named.get(each, each) for each in COMMANDS[command]))
    assert done.code == 3
    assert str(path) in done.err
    assert said in done.err or "cannot be read as one" in done.err


def test_what_a_shell_hands_over_is_read_and_bounded(tmp_path: Path) -> None:
    (tmp_path / "proof").write_text(make_proof(1, 3))
    arguments = [*STEP_AUDIT, "verify-proof", *KEY]
    for content, code in ((f"cat {tmp_path}/proof", 0), ("cat /dev/zero", 3)):
        for command in (f'{content} | "$@" -', f'"$@" <({content})'):
            done = subprocess.run(
                ["bash", "-c", command, "bash", *arguments],
                env=environment(),
                capture_output=True,
                text=True,
                check=False,
                timeout=60,
            )
            assert done.returncode == code, done.stderr
    assert f"has more than {MAX_PROOF // 2**20} MiB" in done.stderr
    assert "--without-result" in done.stderr


@pytest.mark.parametrize("odd", ODD)
def test_a_kept_checkpoint_is_a_small_file(tmp_path: Path, odd: Callable[[Path], str]) -> None:
    odd(tmp_path / "x.checkpoint")
    with pytest.raises(TrustError, match=r"x\.checkpoint (is a|has more than)"):
        open_kept(tmp_path / "x.checkpoint", VERIFIER_KEY)
    with pytest.raises(TrustError, match=r"x\.checkpoint is called like a checkpoint"):
        find_newest(tmp_path, VERIFIER_KEY)


def test_a_file_of_the_limit_is_read(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x" * MAX_NOTE)
    assert len(read_text(path)) == MAX_NOTE
    path.write_bytes(b"x" * (MAX_NOTE + 1))
    with pytest.raises(StepAuditError, match="has more than 2 MiB"):
        read_text(path)
