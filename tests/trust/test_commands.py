"""keygen and verify-proof, as a user runs them."""

from __future__ import annotations

import json
import stat
import uuid
from pathlib import Path

import pytest

from step_audit.database import Connection
from step_audit.trust.checkpoint import Checkpoint, open_checkpoint, sign_checkpoint
from tests.support.command import Done, step_audit, succeed
from tests.support.sealed import METADATA, SIGNER, VERIFIER_KEY, leaf_elements, make_proof

PROVED = """\
audit row             00000000-0000-0000-0000-000000000033
step                  00000000-0000-0000-0000-000000000032
transition            00000000-0000-0000-0000-000000000034 to enqueued_for_orchestration
worker                00000000-0000-0000-0000-000000000007
success               yes
recorded at, UTC      2026-11-22T10:00:00.12
recorded by           engine
result                as sealed
log                   example.com/audit
place in the log      5 of 11, counted from 0
"""


@pytest.fixture
def proof(tmp_path: Path) -> Path:
    return _written(tmp_path / "proof.json", make_proof(5, 11))


def _written(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_keygen_keeps_the_private_key_to_its_owner(tmp_path: Path) -> None:
    file = tmp_path / "audit.key"
    done = step_audit("keygen", "example.com/audit", "--out", str(file))
    assert done.code == 0
    assert done.err == (
        f"{file} is the private key: keep it where the database's administrators cannot read it.\n"
        "The line above is the public key: give it to whoever is to check the log.\n"
    )
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    private_key = file.read_text().removesuffix("\n")
    assert private_key not in done.out + done.err
    checkpoint = Checkpoint("example.com/audit", 3, bytes(32))
    note = sign_checkpoint(checkpoint, private_key)
    assert open_checkpoint(note, done.out.removesuffix("\n")) == checkpoint


def test_keygen_overwrites_nothing(tmp_path: Path) -> None:
    file = _written(tmp_path / "audit.key", "dear")
    assert step_audit("keygen", "example.com/audit", "--out", str(file)) == Done(
        3,
        "",
        f"step-audit: {file} exists already and may be a key; nothing was written. "
        "Name another file.\n",
    )
    assert file.read_text() == "dear"


def test_keygen_of_a_name_that_names_no_key(tmp_path: Path) -> None:
    done = step_audit("keygen", "two words", "--out", str(tmp_path / "key"))
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("step-audit: 'two words' cannot name a key")
    assert not (tmp_path / "key").exists()


def test_verify_proof_tells_what_is_proved(proof: Path) -> None:
    assert succeed("verify-proof", str(proof), "--public-key", VERIFIER_KEY) == PROVED


def test_verify_proof_reads_the_key_from_a_file(proof: Path, tmp_path: Path) -> None:
    key = _written(tmp_path / "audit.pub", VERIFIER_KEY + "\n")
    assert succeed("verify-proof", str(proof), "--public-key", str(key)) == PROVED


def test_verify_proof_reads_standard_input(proof: Path) -> None:
    done = step_audit("verify-proof", "-", "--public-key", VERIFIER_KEY, stdin=proof.read_text())
    assert done == Done(0, PROVED, "")


@pytest.mark.parametrize(
    ("metadata", "withheld", "result"),
    [(METADATA, True, "withheld"), (None, False, "none")],
)
def test_verify_proof_tells_of_a_result_that_is_not_shown(
    tmp_path: Path, metadata: str | None, withheld: bool, result: str
) -> None:
    proof = _written(tmp_path / "proof", make_proof(4, 11, metadata, withheld))
    printed = succeed("verify-proof", str(proof), "--public-key", VERIFIER_KEY)
    assert f"result                {result}\n" in printed
    assert "worker                -\n" in printed
    document = json.loads(
        succeed("verify-proof", str(proof), "--public-key", VERIFIER_KEY, "--json")
    )
    shown = {"recorded_by": None, "payload": None}
    assert document["opening"] == (None if withheld else shown)


def test_verify_proof_as_json_gives_the_whole_record(proof: Path) -> None:
    document = json.loads(
        succeed("verify-proof", str(proof), "--public-key", VERIFIER_KEY, "--json")
    )
    elements = leaf_elements(5)
    assert [*document["audit"].values(), *document["transition"].values()] == elements[3:-1]
    assert document["opening"] == {"recorded_by": "engine", "payload": METADATA}
    assert document["leaf_index"] == 5
    assert document["checkpoint"]["origin"] == SIGNER.name
    assert document["checkpoint"]["tree_size"] == 11


def test_false_proof_has_its_own_exit_code(tmp_path: Path) -> None:
    text = make_proof(5, 11).replace('"success": true', '"success": false')
    proof = _written(tmp_path / "proof", text)
    assert step_audit("verify-proof", str(proof), "--public-key", VERIFIER_KEY) == Done(
        1,
        "",
        "step-audit: the proof is false: its record is not the one of its leaf hash. "
        "Do not rely on the record in it.\n",
    )


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "the proof cannot be read: Expecting value: line 1 column 1 (char 0); nothing was "),
        (b"\xff\xfe", "{} is not text in UTF-8; nothing was checked or signed. Is it the right "),
        (b"[" * 100_000, "the proof cannot be read: it is nested too deep; nothing was checked. "),
        (None, "{}: No such file or directory."),
    ],
)
def test_file_that_is_no_proof(tmp_path: Path, content: bytes | None, reason: str) -> None:
    proof = tmp_path / "proof"
    if content is not None:
        proof.write_bytes(content)
    done = step_audit("verify-proof", str(proof), "--public-key", VERIFIER_KEY)
    assert (done.code, done.out) == (3, "")
    assert done.err.startswith(f"step-audit: {reason.format(proof)}")
    assert "Traceback" not in done.err


@pytest.mark.parametrize("key", ["", "audit.pub", VERIFIER_KEY[:-1], "x" * 9999])
def test_public_key_that_is_neither_key_nor_file(proof: Path, key: str) -> None:
    done = step_audit("verify-proof", str(proof), "--public-key", key)
    assert (done.code, done.out) == (3, "")
    assert done.err.startswith("step-audit: this is no public key: ")
    assert done.err.endswith("Give what 'step-audit keygen' printed, or a file with it.\n")


@pytest.mark.parametrize(
    "arguments",
    [["checkpoint", "--first", "--key"], ["prove", str(uuid.UUID(int=1)), "--checkpoint"]],
)
def test_wrong_file_is_told_before_the_log_is_asked(
    conn: Connection, tmp_path: Path, arguments: list[str]
) -> None:
    file = _written(tmp_path / "file", "neither key nor checkpoint")
    file.chmod(0o600)
    key = ["--public-key", VERIFIER_KEY] if arguments[0] == "prove" else []
    done = step_audit(*arguments, str(file), *key, to=conn)
    assert (done.code, done.out) == (3, "")
    assert done.err.startswith(("step-audit: this is no private key", "step-audit: this is no sig"))
