"""A dump that was cut or edited ends in a clear error or a finding, whatever was done to it."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from step_audit.database import Connection
from step_audit.errors import StepAuditError
from step_audit.trust.note import generate_key
from step_audit.trust.signing import make_checkpoint
from step_audit.trust.verify import open_signed, verify_dump
from tests.properties.test_verify import write_dump
from tests.support.host import HOST
from tests.support.results import record_results
from tests.trust.world import seal

AUDIT, LEAVES = "tasker_workflow_step_result_audit", "step_audit_leaves"


@pytest.fixture
def folder(conn: Connection, tmp_path: Path) -> Path:
    """A dump of nine sealed results."""
    record_results(conn, 9)
    seal(conn)
    write_dump(conn, tmp_path)
    assert verify_dump(tmp_path).findings == ()
    return tmp_path


def rows_of(path: Path) -> list[bytes]:
    return path.read_bytes().splitlines(keepends=True)


def test_a_forged_index_of_a_forged_size_ends(folder: Path) -> None:
    for name, row in (
        (
            LEAVES,
            b"9999999999999\tresult\t%s\t\\\\x00\n" % (b"0" * 8 + b"-0000-0000-0000-" + b"0" * 12),
        ),
        ("step_audit_seals", b"10000000000000\t2026-11-22 10:00:00\t\\N\t\\N\t\\N\n"),
    ):
        text = (folder / name).read_bytes()
        (folder / name).write_bytes(text.replace(b"\\.\n", row + b"\\.\n"))
    kinds = {each.finding for each in verify_dump(folder).findings}
    assert {"missing leaf", "unsealed leaf"} <= kinds


def test_an_extra_field_is_told_with_file_and_line(folder: Path) -> None:
    lines = rows_of(folder / AUDIT)
    at = next(n for n, line in enumerate(lines) if line.startswith(b"COPY")) + 1
    lines[at] = lines[at].replace(b"\n", b"\tmore\n")
    (folder / AUDIT).write_bytes(b"".join(lines))
    with pytest.raises(StepAuditError, match=rf"{AUDIT}, line {at + 1}: it has 15 fields, not 14"):
        verify_dump(folder)


def test_whatever_is_done_to_a_row_of_evidence_shows(conn: Connection, folder: Path) -> None:
    key = generate_key("example.com/audit")
    note = make_checkpoint(conn, HOST.audit_schema, key.to_text()).note
    signed = open_signed(note, None, key.verifier.to_text())
    chance = random.Random(7)
    shown = 0
    transitions = folder / HOST.relation("tasker_workflow_step_transitions")
    evidence = [folder / each for each in (AUDIT, LEAVES, "step_audit_salts", "step_audit_seals")]
    for _ in range(200):
        path = chance.choice([*evidence, transitions])
        text = path.read_bytes()
        first, last = text.index(b"FROM stdin;\n") + 12, text.rindex(b"\\.\n")
        at = chance.randrange(first, last)
        flipped = bytes([text[at] ^ chance.randrange(1, 256)])
        end = text.index(b"\n", at) + 1
        start = text.rindex(b"\n", 0, at) + 1
        changed = chance.choice(
            [
                text[:at],
                text[:at] + flipped + text[at + 1 :],
                text[:start] + text[end:],
                text[:at] + b"\t" + text[at:],
                text[:start] + b"\\N\n" + text[end:],
            ]
        )
        path.write_bytes(changed)
        try:
            found = bool(verify_dump(folder, signed=signed).findings)
        except StepAuditError:
            found = True
        finally:
            path.write_bytes(text)
        # Not all that the engine writes beside a result is evidence.
        assert found or path == transitions
        shown += found
    assert shown > 150
