"""A dump that was cut or edited ends in a clear error or a finding, whatever was done to it."""

from __future__ import annotations

import random
import time
from collections import Counter
from pathlib import Path

import pytest
from psycopg import sql

from step_audit.database import Connection
from step_audit.errors import TrustError
from step_audit.trust.note import generate_key
from step_audit.trust.signing import make_checkpoint
from step_audit.trust.verify import verify_dump
from step_audit.trust.verify.dump.loading import NEEDED
from step_audit.trust.verify.dump.moments import Moments
from step_audit.trust.verify.tables import (
    ANOMALIES,
    AUDIT,
    LEAVES,
    SALTS,
    SEALS,
    STEPS,
    SUBTREES,
    TRANSITIONS,
)
from tests.properties.test_verify import write_dump
from tests.support.command import run
from tests.support.host import HOST, create_steps, disable_own_audit
from tests.support.results import record_results
from tests.trust.dumps import DEEDS, evidence, rows_of
from tests.trust.world import History, seal

FILES = {name: HOST.relation(name) if name in {STEPS, TRANSITIONS} else name for name in NEEDED}
"""The file of each table."""


@pytest.fixture
def folder(conn: Connection, tmp_path: Path) -> Path:
    """A dump of 270 sealed results, so that there is a subtree; some were changed or deleted."""
    disable_own_audit(conn)
    steps = create_steps(conn, 12)
    History(steps).record(conn, 270)
    gone, changed = steps[:2], steps[2]
    of_step = "WHERE workflow_step_uuid = %s"
    conn.execute(
        f"UPDATE {HOST.transitions} SET metadata = '{{}}' {of_step}".encode(), (changed.step_uuid,)
    )
    for step in gone:
        for table in (HOST.transitions, HOST.steps):
            conn.execute(f"DELETE FROM {table} {of_step}".encode(), (step.step_uuid,))
    for _ in range(8):
        conn.execute(
            f"INSERT INTO {HOST.audit_schema}.step_audit_events (kind) VALUES ('test')".encode()
        )
    seal(conn)
    dump = tmp_path / "dump"
    dump.mkdir()
    write_dump(conn, dump)
    report = verify_dump(dump)
    assert report.findings == ()
    assert report.counts.anomalies > 10
    return dump


def test_what_is_done_to_evidence_shows_and_always_ends_well(
    conn: Connection, folder: Path, tmp_path: Path
) -> None:
    key = generate_key("example.com/audit")
    checkpoint = tmp_path / "checkpoint"
    checkpoint.write_text(make_checkpoint(conn, HOST.audit_schema, key.to_text()).note)
    signed = ("--checkpoint", str(checkpoint), "--public-key", key.verifier.to_text())
    command = ("verify", "--dump", str(folder), *signed)
    assert run(*command).code == 0
    audit, first, end = rows_of((folder / AUDIT).read_bytes())
    steps = frozenset(row.split(b"\t")[1] for row in audit[first:end])
    came: Counter[tuple[str, int]] = Counter()
    for table, deed, number in [(t, d, n) for t in FILES for d in DEEDS for n in range(2)]:
        about = f"{table}: {deed}, {number}"
        path = folder / FILES[table]
        text = path.read_bytes()
        changed = DEEDS[deed](text, random.Random(about))
        path.unlink() if changed is None else path.write_bytes(changed)
        began = time.monotonic()
        done = run(*command)
        assert time.monotonic() - began < 60, about
        path.write_bytes(text)

        is_same = evidence(table, text, steps) == evidence(table, changed, steps)
        assert done.code in ((0, 1, 3) if is_same else (1, 3)), about
        assert "Traceback" not in done.err, about
        if done.code == 0:
            assert "findings: 0" in done.out, about
        if done.code == 1:
            assert "findings: 0" not in done.out, about
        if done.code == 3:
            assert str(path) in done.err, about
            assert ", line " in done.err or f"pg_restore -a -t {FILES[table]} " in done.err, about
        came[table, done.code] += 1
    # Each table has deeds of each kind; a seal stands alone, so that nothing is swapped there.
    assert all(came[table, 3] for table in FILES)
    assert all(came[table, 1] for table in FILES)
    assert all(came[table, 0] for table in FILES)


@pytest.mark.parametrize("table", [SALTS, SUBTREES, ANOMALIES, SEALS, STEPS])
def test_a_second_row_of_a_key_is_told_with_file_and_line_of_both(folder: Path, table: str) -> None:
    path = folder / FILES[table]
    lines, first, end = rows_of(path.read_bytes())
    lines.insert(end, lines[first])
    path.write_bytes(b"".join(lines))
    expected = (
        rf"{path}, line {end + 1}: this row of {table} has the .* of {path}, line {first + 1}"
    )
    with pytest.raises(TrustError, match=expected):
        verify_dump(folder)


KEYS = (
    (AUDIT, "workflow_step_result_audit_uuid", "doubled"),
    (AUDIT, "workflow_step_transition_uuid", "doubled"),
    (ANOMALIES, "workflow_step_result_audit_uuid, field", None),
    (LEAVES, "leaf_index", "unsealed leaf"),
    (LEAVES, "record_uuid", "doubled"),
    (SALTS, "leaf_index", None),
    (STEPS, "workflow_step_uuid", None),
    (TRANSITIONS, "workflow_step_transition_uuid", "doubled"),
)
"""Table, key, and the finding that tells a second row of it; None: it is refused."""


@pytest.mark.parametrize(("table", "key", "expected"), KEYS)
def test_another_row_under_the_key_of_one_is_told(
    folder: Path, table: str, key: str, expected: str | None
) -> None:
    path = folder / FILES[table]
    lines, first, end = rows_of(path.read_bytes())
    columns = lines[first - 1].decode().partition("(")[2].partition(")")[0].split(", ")
    # Of transitions each second one is a result.
    one, other = (lines[first + at].split(b"\t") for at in (1, 5))
    for name in key.split(", "):
        at = columns.index(name)
        assert one[at] != other[at] or name == "field"
        other[at] = one[at]
    if name == "workflow_step_transition_uuid":
        # The step belongs to the key.
        other[columns.index("workflow_step_uuid")] = one[columns.index("workflow_step_uuid")]
    other[-1] = other[-1].rstrip(b"\n") + b"\n"
    lines.insert(end, b"\t".join(other))
    path.write_bytes(b"".join(lines))
    if expected is None:
        with pytest.raises(TrustError, match=rf"line {end + 1}: this row of {table} has the .* of"):
            verify_dump(folder)
    else:
        assert expected in {each.finding for each in verify_dump(folder).findings}


def test_a_second_file_of_a_table_is_told(folder: Path) -> None:
    (folder / "a-copy").write_bytes((folder / FILES[STEPS]).read_bytes())
    with pytest.raises(TrustError, match="Is the table twice in the folder"):
        verify_dump(folder)


def test_tables_of_two_engines_are_told_apart(folder: Path) -> None:
    text = (folder / FILES[STEPS]).read_bytes()
    (folder / "z").write_bytes(text.replace(b"COPY public.", b"COPY elsewhere."))
    with pytest.raises(TrustError, match=r"z, line 7: rows of elsewhere\..* are in the folder too"):
        verify_dump(folder)


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        (b"'UTF8'", b"'LATIN1'", "line 7: the rows are in LATIN1, not in UTF8"),
        (b"SET client", b"-- client", "line 7: the rows are in an encoding that is not told"),
        (b"\n", b"\r\n", "line 1: it ends in CR LF"),
        (b"\nCOPY", b"\r\nCOPY", "line 6: it ends in CR LF"),
        (b"leaf_index, ", b"leaf, ", "line 7: step_audit_leaves has no column leaf_index"),
        (b"\tresult\t", b"\tresult\t\\x", "line 8: a backslash in it is no escape of COPY's"),
        (b"\tresult\t", b"\tresult\x0b\t", "line 8: a control character is in it"),
        (b"\tresult\t", b"\tr\xe9sult\t", "line 8: it is not in UTF-8"),
        (b"\tresult\t", b"\tresult\tresult\t", "line 8: it has 5 fields, not 4"),
        (b"\tresult\t", b"\t\\N\t", "line 8: this is no kind of step_audit_leaves"),
        (b"\n0\t", b"\n00\t", "line 8: this is no leaf_index of step_audit_leaves"),
        (b"\\.\n", b"", "line 355: it has 1 fields, not 4"),
        (
            b"\\.\n\n--\n-- PostgreSQL database dump complete\n--\n",
            b"",
            "line 354: the file ends within the rows of step_audit_leaves",
        ),
    ],
)
def test_what_copy_does_not_write_is_told_with_file_and_line(
    folder: Path, before: bytes, after: bytes, expected: str
) -> None:
    path = folder / LEAVES
    text = path.read_bytes()
    assert before in text
    path.write_bytes(text.replace(before, after))
    with pytest.raises(TrustError) as error:
        verify_dump(folder)
    assert f"{path}, {expected}" in str(error.value)


@pytest.mark.parametrize("place", [b"COPY ", b"--\n-- PostgreSQL database dump complete"])
@pytest.mark.parametrize(
    "line",
    [
        b"UPDATE public.step_audit_leaves SET kind = 'result';",
        b"INSERT INTO public.step_audit_leaves VALUES (0);",
        b"DROP TABLE public.step_audit_leaves;",
        b"copy public.step_audit_leaves (leaf_index) from stdin;\n7\n\\.",
        b"COPY public.STEP_AUDIT_LEAVES (leaf_index) FROM stdin;\n7\n\\.",
        b"COPY public.step_audit_leaves FROM stdin;\n7\n\\.",
        b"COPY public.step_audit_leaves (leaf_index) FROM stdin WITH (FORMAT text);\n7\n\\.",
        b"COPY public.step_audit_leaves (leaf_index) FROM '/tmp/leaves';",
        b" COPY public.step_audit_leaves (leaf_index) FROM stdin;\n7\n\\.",
        b"SET session_replication_role = 'replica';",
        b"SET search_path = elsewhere;",
        b"SET row_security = off; DROP TABLE t;",
        b"SET client_encoding = 'UTF8'; DROP TABLE t;",
        b"SELECT pg_catalog.set_config('search_path', 'elsewhere', false);",
        b"SELECT pg_catalog.setval('s', 1, true), 1;",
        b"SELECT pg_catalog.setval('s\\', 1, true), (SELECT public.f()), ('x', 1, true);",
        b"-- a comment\rDROP TABLE t;",
        b"/* a comment */",
        b"\\i other.sql",
        b"\\restrict x \\! rm",
        b"BEGIN;",
        b"a line of words",
    ],
)
def test_what_psql_could_run_beside_the_rows_is_told_with_file_and_line(
    folder: Path, place: bytes, line: bytes
) -> None:
    path = folder / LEAVES
    text = path.read_bytes()
    at = text.index(place)
    path.write_bytes(text[:at] + line + b"\n" + text[at:])
    number = text[:at].count(b"\n") + 1
    with pytest.raises(TrustError) as error:
        verify_dump(folder)
    assert f"{path}, line {number}: pg_restore -a writes no such line" in str(error.value)


@pytest.mark.parametrize("table", FILES)
def test_a_missing_file_is_named_with_the_command_that_writes_it(folder: Path, table: str) -> None:
    path = folder / FILES[table]
    path.unlink()
    with pytest.raises(TrustError) as error:
        verify_dump(folder)
    assert f"Write them from the dump: pg_restore -a -t {path.name} -f {path} DUMP." in str(
        error.value
    )


def test_a_forged_index_of_a_forged_size_ends(folder: Path) -> None:
    for name, row in (
        (
            LEAVES,
            b"9999999999999\tresult\t%s\t\\\\x00\n" % (b"0" * 8 + b"-0000-0000-0000-" + b"0" * 12),
        ),
        (SEALS, b"10000000000000\t2026-11-22 10:00:00\t\\N\t\\N\t\\N\n"),
    ):
        text = (folder / name).read_bytes()
        (folder / name).write_bytes(text.replace(b"\\.\n", row + b"\\.\n"))
    kinds = {each.finding for each in verify_dump(folder).findings}
    assert {"missing leaf", "unsealed leaf"} <= kinds


def test_a_salt_takes_nothing_over_from_who_recorded(conn: Connection, tmp_path: Path) -> None:
    """What is committed to is salt and recorder behind each other: the salt has its size."""
    conn.execute('CREATE ROLE "x""y" SUPERUSER')
    try:
        conn.execute('SET SESSION AUTHORIZATION "x""y"')
        record_results(conn, 1)
        conn.execute("RESET SESSION AUTHORIZATION")
    finally:
        conn.execute("RESET SESSION AUTHORIZATION")
        conn.execute('DROP ROLE "x""y"')
    seal(conn)
    write_dump(conn, tmp_path)
    assert verify_dump(tmp_path).findings == ()
    for name, before, after in (
        (AUDIT, b'\tx"y\t', b"\ty\t"),
        (SALTS, b"\n\\.\n", b'"x\\'.hex().encode() + b"\n\\.\n"),
    ):
        text = (tmp_path / name).read_bytes()
        assert text.count(before) == 1
        (tmp_path / name).write_bytes(text.replace(before, after))
    assert [each.finding for each in verify_dump(tmp_path).findings] == ["altered record"]


ZONES = (
    "UTC",
    "Africa/Monrovia",
    "Europe/Amsterdam",
    "Asia/Kolkata",
    "America/Caracas",
    "<+14>-14",
)


def test_times_of_all_years_and_zones_move_to_utc_as_the_server_moves_them(
    empty: Connection,
) -> None:
    chance = random.Random(3)
    # From 4713 BC to the year 294276, most of them where zones changed.
    seconds = [chance.uniform(-210_000_000_000, 9_000_000_000_000) for _ in range(150)]
    seconds += [chance.uniform(-70_000_000_000, 4_000_000_000) for _ in range(300)]
    seconds += [-62135596800.0 + hour * 3600 for hour in range(-30, 30)]
    for zone in ZONES:
        moments = Moments()
        empty.execute(sql.SQL("SET TimeZone = {}").format(sql.Literal(zone)))
        rows = empty.execute(
            "SELECT t.moment::text AS shown, (t.moment AT TIME ZONE 'UTC')::text AS utc "
            "FROM (SELECT to_timestamp(unnest(%s::float8[])) AS moment) AS t",
            (seconds,),
        ).fetchall()
        assert len(rows) == len(seconds)
        for row in rows:
            assert moments(row["shown"].encode()) == row["utc"].encode(), (zone, row)


@pytest.mark.parametrize(
    "text",
    [
        b"2026-11-22 10:00:00-00",
        b"2026-11-22 10:00:00+01:00",
        b"2026-11-22 10:00:00+01:30:00",
        b"2026-11-22 10:00:00.500+00",
        b"02026-11-22 10:00:00+00",
        b"2026-13-22 10:00:00+01",
        b"2026-11-22 10:00:00",
        b"22/11/2026 10:00:00 UTC",
    ],
)
def test_a_time_has_one_text(text: bytes) -> None:
    moments = Moments()
    assert moments(b"2026-11-22 10:00:00.5+01") == b"2026-11-22 09:00:00.5"
    with pytest.raises(ValueError, match=r"2026|month"):
        moments(text)
