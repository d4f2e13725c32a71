"""What a purge or an erasure accounts for is no finding; what it does not account for is one.

The rows go here by the owner's own hand, guards off, so that each lie can be told.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from step_audit.database import Connection, call
from step_audit.trust.leaf import Leaf
from step_audit.trust.verify import Report, verify, verify_dump
from step_audit.trust.verify.accounts import Accounts, Erasure, read_accounts
from tests.properties.test_verify import write_dump
from tests.support.host import HOST, disable_own_audit
from tests.support.results import record_results
from tests.trust.world import seal

AUDIT = f"{HOST.audit_schema}.tasker_workflow_step_result_audit"
CHANGES = f"{HOST.audit_schema}.step_audit_changes"
EVENTS = f"{HOST.audit_schema}.step_audit_events"
SALTS = f"{HOST.audit_schema}.step_audit_salts"
RECORDS, CHANGED, DELETED = 6, 2, 1
LEAVES = RECORDS + CHANGED + DELETED


def run(conn: Connection, statement: str, *arguments: Any) -> list[dict[str, Any]]:
    done = conn.execute(statement.encode(), arguments)
    return done.fetchall() if done.description else []


@pytest.fixture
def kept(conn: Connection) -> Connection:
    """Six sealed results: one was changed twice, one deleted by the engine."""
    disable_own_audit(conn)
    results = record_results(conn, RECORDS)
    seal(conn)
    for number in range(CHANGED):
        run(
            conn,
            f"UPDATE {HOST.transitions} SET metadata = %s WHERE workflow_step_uuid = %s "
            "AND sort_key = 2",
            json.dumps({"event": {"success": True, "number": number}}),
            results[0].step.step_uuid,
        )
    run(
        conn,
        f"DELETE FROM {HOST.transitions} WHERE workflow_step_uuid = %s",
        results[1].step.step_uuid,
    )
    seal(conn)
    return conn


@contextmanager
def by_hand(conn: Connection, *tables: str) -> Iterator[None]:
    """As an owner who switches guards and triggers off, and on again."""
    run(conn, "SET session_replication_role = replica")
    for table in tables:
        run(conn, f"ALTER TABLE {table} DISABLE TRIGGER trg_append_only")
    yield
    for table in tables:
        run(conn, f"ALTER TABLE {table} ENABLE ALWAYS TRIGGER trg_append_only")
    run(conn, "RESET session_replication_role")


def tell(conn: Connection, kind: str, payload: object, transition: object = None) -> None:
    run(
        conn,
        f"INSERT INTO {EVENTS} (kind, workflow_step_transition_uuid, payload) VALUES (%s, %s, %s)",
        kind,
        transition,
        json.dumps(payload),
    )


def leaves(conn: Connection) -> list[dict[str, Any]]:
    """Leaf, salt, payload and transition of each record."""
    found = call(conn, HOST.audit_schema, "list_step_audit_leaves", p_first=0, p_until=LEAVES)
    rows = run(
        conn,
        "SELECT workflow_step_result_audit_uuid AS uuid, workflow_step_transition_uuid AS "
        f"transition FROM {AUDIT} UNION ALL "
        f"SELECT step_audit_change_uuid, workflow_step_transition_uuid FROM {CHANGES}",
    )
    of = {row["uuid"]: row["transition"] for row in rows}
    return [each | {"transition": of[each["record_uuid"]]} for each in found]


def delete(conn: Connection, transition: object, salts: bool = True) -> list[int]:
    """Delete the trail of a transition by hand; gives its leaves."""
    mine = [each for each in leaves(conn) if each["transition"] == transition]
    indexes = [each["leaf_index"] for each in mine]
    with by_hand(conn, AUDIT, CHANGES, SALTS):
        run(conn, f"DELETE FROM {AUDIT} WHERE workflow_step_transition_uuid = %s", transition)
        run(conn, f"DELETE FROM {CHANGES} WHERE workflow_step_transition_uuid = %s", transition)
        if salts:
            run(conn, f"DELETE FROM {SALTS} WHERE leaf_index = ANY(%s)", indexes)
    return indexes


def ranges(indexes: list[int]) -> str:
    return "{" + ",".join(f"[{index},{index + 1})" for index in sorted(indexes)) + "}"


def deleted_transition(conn: Connection) -> object:
    (row,) = run(
        conn,
        f"SELECT workflow_step_transition_uuid AS uuid FROM {CHANGES} WHERE operation = 'delete'",
    )
    return row["uuid"]


def both(conn: Connection, folder: Path) -> list[Report]:
    """The reports of the database and of its dump."""
    dump = folder / "dump"
    dump.mkdir()
    write_dump(conn, dump)
    return [verify(conn, HOST.audit_schema, workers=1), verify_dump(dump)]


def kinds(report: Report) -> list[str]:
    return sorted(finding.finding for finding in report.findings)


@pytest.mark.parametrize("is_sealed", [False, True])
@pytest.mark.parametrize("salts", [False, True])
def test_what_a_purge_names_is_gone_with_its_salt(
    kept: Connection, tmp_path: Path, is_sealed: bool, salts: bool
) -> None:
    gone = delete(kept, deleted_transition(kept), salts)
    assert len(gone) == 2
    tell(kept, "purged", {"leaves": ranges(gone)})
    if is_sealed:
        seal(kept)
    for report in both(kept, tmp_path):
        assert [(each.finding, each.stored, each.expected) for each in report.findings] == (
            [] if salts else [("altered record", "with its salt", "purged")] * 2
        )
        assert report.counts.purged == 2
        assert any("records were purged on purpose, as 1 event tell" in r for r in report.remarks)


@pytest.mark.parametrize(
    "payload", [None, 7, {}, {"leaves": None}, {"leaves": "{[0"}, {"leaves": "{[0,1)}"}]
)
def test_what_a_purge_does_not_name_is_found(
    kept: Connection, tmp_path: Path, payload: object
) -> None:
    gone = delete(kept, deleted_transition(kept))
    tell(kept, "purged", payload)
    seal(kept)
    for report in both(kept, tmp_path):
        found = kinds(report)
        assert found.count("deleted record") == len(gone)
        # Leaf 0 is named, and its record stands.
        assert found.count("inserted record") == (payload == {"leaves": "{[0,1)}"})


def test_a_purge_names_no_leaf_that_comes_later(kept: Connection, tmp_path: Path) -> None:
    tell(kept, "purged", {"leaves": "{[0,1000000)}"})
    seal(kept)
    (result,) = record_results(kept, 1)
    seal(kept)
    run(
        kept,
        f"DELETE FROM {HOST.transitions} WHERE workflow_step_uuid = %s",
        result.step.step_uuid,
    )
    seal(kept)
    with by_hand(kept, AUDIT, CHANGES):
        for table in (AUDIT, CHANGES):
            run(kept, f"DELETE FROM {table} WHERE workflow_step_uuid = %s", result.step.step_uuid)
    for report in both(kept, tmp_path):
        assert kinds(report).count("deleted record") == 2


def test_a_record_that_comes_again_after_its_purge_is_found(
    kept: Connection, tmp_path: Path
) -> None:
    transition = deleted_transition(kept)
    run(kept, f"CREATE TABLE aside AS SELECT * FROM {AUDIT}")
    run(kept, f"CREATE TABLE aside_changes AS SELECT * FROM {CHANGES}")
    gone = delete(kept, transition)
    tell(kept, "purged", {"leaves": ranges(gone)})
    seal(kept)
    for table, aside in ((AUDIT, "aside"), (CHANGES, "aside_changes")):
        run(
            kept,
            f"INSERT INTO {table} SELECT * FROM {aside} WHERE workflow_step_transition_uuid = %s",
            transition,
        )
    for report in both(kept, tmp_path):
        assert kinds(report) == ["inserted record"] * 2


def erase(conn: Connection, transition: object) -> dict[str, Any]:
    """Erase the results and changes of a transition by hand; gives the payload of the event."""
    mine = [each for each in leaves(conn) if each["transition"] == transition]
    kept = []
    for each in mine:
        if each["leaf"]:
            commitment = Leaf.from_text(each["leaf"]).commitment
            kept.append([each["leaf_index"], commitment, None, each["recorded_by"]])
        else:
            kept.append([each["leaf_index"], *_of_change(conn, each)])
    standing = run(
        conn,
        "SELECT jsonb_build_array(workflow_step_transition_uuid, workflow_step_uuid, from_state, "
        "to_state, sort_key::bigint, get_utc_time(created_at)) AS evidence "
        f"FROM {HOST.transitions} WHERE workflow_step_transition_uuid = %s",
        transition,
    )
    indexes = [each["leaf_index"] for each in mine]
    with by_hand(conn, CHANGES, SALTS):
        where = "WHERE workflow_step_transition_uuid = %s"
        run(conn, f"UPDATE {HOST.transitions} SET metadata = NULL {where}", transition)
        run(conn, f"UPDATE {CHANGES} SET metadata = NULL, metadata_json = NULL {where}", transition)
        run(conn, f"DELETE FROM {SALTS} WHERE leaf_index = ANY(%s)", indexes)
    return {"leaves": kept, "standing": standing[0]["evidence"] if standing else None}


def _of_change(conn: Connection, leaf: dict[str, Any]) -> tuple[str, str | None, str]:
    """Commitment, successor and role of a change."""
    (row,) = run(
        conn,
        "SELECT encode(commit_step_audit_payload(s.salt, c.recorded_by, p.payload), 'hex') AS own, "
        "encode(get_step_audit_successor(c.step_audit_change_uuid, s.salt), 'hex') AS successor, "
        "c.recorded_by "
        f"FROM {CHANGES} AS c JOIN {SALTS} AS s ON s.leaf_index = %s "
        "CROSS JOIN print_step_audit_change(c.metadata, c.metadata_json) AS p "
        "WHERE c.step_audit_change_uuid = %s",
        leaf["leaf_index"],
        leaf["record_uuid"],
    )
    return row["own"], row["successor"], row["recorded_by"]


def changed_transition(conn: Connection) -> object:
    (row,) = run(
        conn,
        "SELECT DISTINCT workflow_step_transition_uuid AS uuid "
        f"FROM {CHANGES} WHERE operation = 'update'",
    )
    return row["uuid"]


def plain_transition(conn: Connection) -> object:
    (row,) = run(
        conn,
        f"SELECT a.workflow_step_transition_uuid AS uuid FROM {AUDIT} AS a WHERE NOT EXISTS ("
        f"SELECT FROM {CHANGES} AS c WHERE c.workflow_step_transition_uuid = "
        "a.workflow_step_transition_uuid) ORDER BY 1 LIMIT 1",
    )
    return row["uuid"]


WHICH = {"plain": plain_transition, "changed": changed_transition, "deleted": deleted_transition}


@pytest.mark.parametrize("is_sealed", [False, True])
@pytest.mark.parametrize("which", WHICH)
def test_what_an_erasure_names_may_lack_its_payload(
    kept: Connection, tmp_path: Path, which: str, is_sealed: bool
) -> None:
    transition = WHICH[which](kept)
    payload = erase(kept, transition)
    tell(kept, "erased", payload, transition)
    if is_sealed:
        seal(kept)
    for report in both(kept, tmp_path):
        assert report.findings == ()
        assert report.counts.erased == len(payload["leaves"])
        assert any("payloads were erased on purpose" in remark for remark in report.remarks)


@pytest.mark.parametrize("which", WHICH)
def test_an_erasure_that_nobody_tells_is_found(
    kept: Connection, tmp_path: Path, which: str
) -> None:
    erase(kept, WHICH[which](kept))
    for report in both(kept, tmp_path):
        assert "missing salt" in kinds(report)


@pytest.mark.parametrize("which", WHICH)
def test_an_erasure_with_another_commitment_is_found(
    kept: Connection, tmp_path: Path, which: str
) -> None:
    transition = WHICH[which](kept)
    payload = erase(kept, transition)
    for kept_of_leaf in payload["leaves"]:
        kept_of_leaf[1] = "0" * 64
    tell(kept, "erased", payload, transition)
    for report in both(kept, tmp_path):
        assert set(kinds(report)) == {"altered record"}
        assert len(report.findings) == len(payload["leaves"])


@pytest.mark.parametrize("which", WHICH)
@pytest.mark.parametrize(
    "lie", ["success = NOT success", "recorded_at = recorded_at - interval '1h'"]
)
def test_what_stands_openly_in_an_erased_record_is_still_proved(
    kept: Connection, tmp_path: Path, which: str, lie: str
) -> None:
    transition = WHICH[which](kept)
    tell(kept, "erased", erase(kept, transition), transition)
    with by_hand(kept, AUDIT):
        set_to = f"UPDATE {AUDIT} SET {lie}"
        run(kept, f"{set_to} WHERE workflow_step_transition_uuid = %s", transition)
    for report in both(kept, tmp_path):
        assert "altered record" in kinds(report)


@pytest.mark.parametrize("table", [AUDIT, CHANGES])
def test_who_recorded_what_is_erased_is_still_proved(
    kept: Connection, tmp_path: Path, table: str
) -> None:
    transition = changed_transition(kept)
    tell(kept, "erased", erase(kept, transition), transition)
    seal(kept)
    with by_hand(kept, table):
        set_to = f"UPDATE {table} SET recorded_by = 'somebody else'"
        run(kept, f"{set_to} WHERE workflow_step_transition_uuid = %s", transition)
    for report in both(kept, tmp_path):
        assert set(kinds(report)) == {"altered record"}


EDITS = {
    "its state": "from_state = 'pending'",
    "its result": "to_state = CASE to_state WHEN 'enqueued_for_orchestration' "
    "THEN 'enqueued_as_error_for_orchestration' ELSE 'enqueued_for_orchestration' END",
    "no result any more": "to_state = 'complete'",
    "its place": "sort_key = 1000",
    "its time": "created_at = created_at - interval '1 day'",
    "its key": "workflow_step_transition_uuid = '00000000-0000-0000-0000-000000000001'",
}


@pytest.mark.parametrize("changed_again", [False, True])
@pytest.mark.parametrize("edit", EDITS)
@pytest.mark.parametrize("which", ["plain", "changed"])
def test_what_an_erasure_left_is_still_proved(
    kept: Connection, tmp_path: Path, which: str, edit: str, changed_again: bool
) -> None:
    """Of a changed transition too, the last change of which is erased."""
    transition = WHICH[which](kept)
    tell(kept, "erased", erase(kept, transition), transition)
    seal(kept)
    where = "WHERE workflow_step_transition_uuid = %s"
    with by_hand(kept):
        run(kept, f"UPDATE {HOST.transitions} SET {EDITS[edit]} {where}", transition)
    if changed_again:
        run(kept, f"UPDATE {HOST.transitions} SET metadata = '[]' {where}", transition)
        seal(kept)
    for report in both(kept, tmp_path):
        assert "altered record" in kinds(report)


@pytest.mark.parametrize("which", ["plain", "changed"])
def test_a_transition_that_goes_behind_its_erasure_is_found(
    kept: Connection, tmp_path: Path, which: str
) -> None:
    transition = WHICH[which](kept)
    tell(kept, "erased", erase(kept, transition), transition)
    seal(kept)
    with by_hand(kept):
        delete_it = f"DELETE FROM {HOST.transitions} WHERE workflow_step_transition_uuid = %s"
        run(kept, delete_it, transition)
    for report in both(kept, tmp_path):
        assert "altered record" in kinds(report)


@pytest.mark.parametrize("which", ["plain", "changed"])
def test_a_payload_that_comes_again_behind_an_erasure_is_found(
    kept: Connection, tmp_path: Path, which: str
) -> None:
    transition = WHICH[which](kept)
    tell(kept, "erased", erase(kept, transition), transition)
    seal(kept)
    set_to = f"""UPDATE {HOST.transitions} SET metadata = '{{"event": {{"success": true}}}}' """
    with by_hand(kept):
        run(kept, set_to + "WHERE workflow_step_transition_uuid = %s", transition)
    for report in both(kept, tmp_path):
        assert set(kinds(report)) == {"altered record"}


@pytest.mark.parametrize("which", ["plain", "changed"])
@pytest.mark.parametrize("told_of", [None, UUID(int=1), "itself"])
def test_whatever_the_event_says_it_is_about_a_payload_that_comes_again_is_found(
    kept: Connection, tmp_path: Path, which: str, told_of: object
) -> None:
    transition = WHICH[which](kept)
    payload = erase(kept, transition)
    # An event whose key is before those of all changes.
    run(
        kept,
        f"INSERT INTO {EVENTS} (step_audit_event_uuid, kind, workflow_step_transition_uuid, "
        "payload) VALUES (%s, 'erased', %s, %s)",
        UUID(int=2),
        transition if told_of == "itself" else told_of,
        json.dumps(payload),
    )
    seal(kept)
    set_to = f"""UPDATE {HOST.transitions} SET metadata = '{{"event": {{"success": true}}}}' """
    with by_hand(kept):
        run(kept, set_to + "WHERE workflow_step_transition_uuid = %s", transition)
    for report in both(kept, tmp_path):
        assert set(kinds(report)) == {"altered record"}


def test_an_event_that_tells_of_holds_or_purges_is_not_erased(
    kept: Connection, tmp_path: Path
) -> None:
    tell(kept, "hold", {"reason": "litigation"})
    seal(kept)
    event_of_leaf = (
        f"FROM {EVENTS} AS e JOIN {HOST.audit_schema}.step_audit_leaves AS l "
        "ON l.record_uuid = e.step_audit_event_uuid "
        f"JOIN {SALTS} AS s ON s.leaf_index = l.leaf_index WHERE e.kind = 'hold'"
    )
    (row,) = run(
        kept,
        "SELECT l.leaf_index, encode(commit_step_audit_payload(s.salt, e.recorded_by, "
        f"e.payload::text), 'hex') AS commitment {event_of_leaf}",
    )
    with by_hand(kept, EVENTS, SALTS):
        run(kept, f"UPDATE {EVENTS} SET payload = NULL WHERE kind = 'hold'")
        run(kept, f"DELETE FROM {SALTS} WHERE leaf_index = %s", row["leaf_index"])
    tell(kept, "erased", {"leaves": [[row["leaf_index"], row["commitment"], None, None]]})
    for report in both(kept, tmp_path):
        assert kinds(report) == ["altered record"]


def test_what_comes_again_after_erasure_and_purge_is_no_finding(
    kept: Connection, tmp_path: Path
) -> None:
    """The engine restores a transition of which no record is left."""
    transition = plain_transition(kept)
    run(kept, f"CREATE TABLE aside AS SELECT * FROM {HOST.transitions}")
    where = "WHERE workflow_step_transition_uuid = %s"
    call(
        kept,
        HOST.audit_schema,
        "erase_step_audit_transition",
        p_transition_uuid=transition,
        p_reason="request 62",
    )
    run(kept, f"DELETE FROM {HOST.transitions} {where}", transition)
    seal(kept)
    (now,) = run(kept, "SELECT (clock_timestamp() AT TIME ZONE 'UTC')::timestamp AS at")
    call(
        kept,
        HOST.audit_schema,
        "purge_step_result_audit_batch",
        p_before=now["at"],
        p_reason="7 years",
    )
    assert run(kept, f"SELECT FROM {AUDIT} {where}", transition) == []
    run(kept, f"INSERT INTO {HOST.transitions} SELECT * FROM aside {where}", transition)
    for report in both(kept, tmp_path):
        assert report.findings == ()


@pytest.mark.parametrize("which", ["plain", "changed"])
def test_what_the_engine_writes_behind_an_erasure_is_no_finding(
    kept: Connection, tmp_path: Path, which: str
) -> None:
    transition = WHICH[which](kept)
    tell(kept, "erased", erase(kept, transition), transition)
    for metadata in ('{"event": {"success": true}}', '{"event": {"success": false}}'):
        set_to = f"UPDATE {HOST.transitions} SET metadata = %s "
        run(kept, set_to + "WHERE workflow_step_transition_uuid = %s", metadata, transition)
        seal(kept)
    for report in both(kept, tmp_path):
        assert report.findings == ()


def test_accounts_of_a_range() -> None:
    erased = json.dumps(
        {"leaves": [[3, "ab" * 32, None, None], [9, "cd" * 32, "ef" * 32, "app"]], "standing": [1]}
    ).encode()
    purged = b'{"leaves": "{[0,2),[4,7)}"}'
    rows: list[list[bytes | None]] = [
        [b"purged", None, purged, b"app", b"2026-01-01 00:00:00", b"e", b"20"],
        [b"erased", b"t", erased, b"app", b"2026-01-01 00:00:00", b"b", None],
        [b"erased", b"t", b"{}", b"app", b"2026-01-01 00:00:00", b"c", b"9"],
        [b"purged", None, b'{"leaves": "{[5,9)}"}', b"app", b"2026-01-01", b"f", b"8"],
    ]
    accounts = read_accounts(iter(rows), 10)
    assert accounts.purged == ((0, 2), (4, 8))
    assert accounts.erased == {
        3: Erasure(b"ab" * 32),
        9: Erasure(b"cd" * 32, b"ef" * 32, b"app"),
    }
    assert accounts.left == {b"t": [1]}
    assert [index for index in range(12) if accounts.is_purged(b"%d" % index)] == [
        *range(2),
        *range(4, 8),
    ]
    part = accounts.between(5, 9)
    assert (part.purged, part.erased) == (((5, 8),), {})
    assert Accounts().between(0, 9) == Accounts()
