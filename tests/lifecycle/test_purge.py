"""What retention no longer asks for goes, if the engine deleted it: a whole trail or nothing."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import errors

from step_audit.database import Connection, call
from step_audit.trust.purge import Purged, run_purge
from tests.functions.test_indexes import plans
from tests.lifecycle.test_changes import engine, run  # noqa: F401 (a fixture)
from tests.support.command import step_audit, succeed
from tests.support.connect import connect_again, dsn_of
from tests.support.host import HOST, Transition, create_steps, insert_each
from tests.support.results import record_results
from tests.support.roles import login_roles

AUDIT = f"{HOST.audit_schema}.tasker_workflow_step_result_audit"
ANOMALIES = f"{AUDIT}_anomalies"
CHANGES, EVENTS, SALTS, DELETED, LEAVES, SUBTREES, SEALS = (
    f"{HOST.audit_schema}.step_audit_{name}"
    for name in ("changes", "events", "salts", "deleted_steps", "leaves", "subtrees", "seals")
)
SECONDS = 15


def seal(conn: Connection) -> None:
    call(conn, HOST.audit_schema, "seal_step_result_audit")


def now(conn: psycopg.Connection[Any]) -> datetime:
    row = conn.execute("SELECT (clock_timestamp() AT TIME ZONE 'UTC')::timestamp AS t").fetchone()
    assert row is not None
    moment: datetime = row["t"]
    return moment


def count(conn: Connection, table: str, where: str = "TRUE") -> int:
    (row,) = conn.execute(f"SELECT count(*) AS n FROM {table} WHERE {where}".encode()).fetchall()
    number: int = row["n"]
    return number


def clear(conn: Connection) -> None:
    """The engine's own clean-up."""
    run(conn, f"DELETE FROM {HOST.transitions}")
    run(conn, f"DELETE FROM {HOST.steps}")


def purgeable(conn: Connection, results: int = 4) -> list[Transition]:
    """Results that a purge may take."""
    made = record_results(conn, results)
    clear(conn)
    seal(conn)
    return made


def batch(conn: psycopg.Connection[Any], before: datetime, **arguments: object) -> dict[str, Any]:
    (done,) = call(
        conn,
        HOST.audit_schema,
        "purge_step_result_audit_batch",
        p_before=before,
        p_reason="7 years",
        **arguments,
    )
    return done


def purge(conn: Connection, before: datetime | None = None, **arguments: Any) -> Purged:
    *_, done = run_purge(conn, HOST.audit_schema, before or now(conn), "7 years", **arguments)
    return done


def hold(conn: psycopg.Connection[Any], task: object) -> Any:
    (done,) = call(
        conn, HOST.audit_schema, "hold_step_result_audit", p_reason="litigation", p_task_uuid=task
    )
    return done["hold"]


def everything(conn: Connection) -> list[Any]:
    """Each row of ours by version."""
    tables = (AUDIT, ANOMALIES, CHANGES, EVENTS, SALTS, DELETED, LEAVES, SUBTREES, SEALS)
    reads = " UNION ALL ".join(f"SELECT xmin::text, t::text FROM {table} AS t" for table in tables)
    return conn.execute(f"{reads} ORDER BY 2".encode()).fetchall()


def named(conn: Connection) -> list[int]:
    """The leaves that purges name, each as often as it is named."""
    rows = conn.execute(
        "SELECT generate_series(lower(r), upper(r) - 1) AS leaf "
        f"FROM {EVENTS}, unnest((payload ->> 'leaves')::int8multirange) AS r "
        "WHERE kind = 'purged' ORDER BY 1".encode()
    ).fetchall()
    return [row["leaf"] for row in rows]


def test_what_is_held_stays_and_the_rest_goes(conn: Connection) -> None:
    results = record_results(conn, 4)
    run(conn, f"DELETE FROM {HOST.transitions}")
    seal(conn)
    held = results[0].step.task_uuid
    said = succeed("hold", "--task", str(held), "--reason", "litigation 17", to=conn)
    assert said.endswith(f" keeps task {held}: 2 audit rows by now\n")
    purge = ("purge", "--before", now(conn).isoformat(), "--reason", "7 years")
    stays = "2 trails stay: held, see step-audit holds\n"
    went = "2 audit rows, 2 changes and 0 events"
    assert succeed(*purge, "--dry-run", to=conn) == (
        f"would purge {went}; nothing was written\n{stays}"
    )
    assert (count(conn, AUDIT), count(conn, EVENTS)) == (4, 1)
    assert succeed(*purge, to=conn) == f"purged {went}\n{stays}"
    assert count(conn, AUDIT, f"task_uuid = '{held}'") == count(conn, AUDIT) == 2
    assert (count(conn, CHANGES), count(conn, SALTS)) == (2, 4)
    (row,) = conn.execute(f"SELECT payload FROM {EVENTS} WHERE kind = 'purged'".encode()).fetchall()
    assert row["payload"]["leaves"] == "{[2,4),[6,8)}"


# What it does not take, and who may call it.


def test_a_dry_run_writes_nothing_and_says_the_same(conn: Connection) -> None:
    results = record_results(conn, 10)
    run(
        conn,
        f"DELETE FROM {HOST.transitions} WHERE workflow_step_transition_uuid <> ALL(%s)",
        [result.transition_uuid for result in results[:3]],
    )
    seal(conn)
    hold(conn, results[5].step.task_uuid)
    moment = now(conn)
    run(conn, f"DELETE FROM {HOST.transitions} WHERE sort_key = 2 AND to_state LIKE '%%error%%'")
    was = everything(conn)
    with conn.transaction():
        conn.execute("SET TRANSACTION READ ONLY")
        said = batch(conn, moment, p_dry_run=True)
    dry = purge(conn, moment, dry_run=True)
    assert everything(conn) == was
    assert {name: said[name] for name in ("records", "changes", "kept_by_hold")} == {
        "records": 5,
        "changes": 5,
        "kept_by_hold": 2,
    }
    assert dry == purge(conn, moment)
    assert (dry.kept_by_engine, dry.kept_unsealed, dry.kept_by_hold) == (2, 1, 2)


def test_who_may_purge_needs_no_right_on_any_table(conn: Connection) -> None:
    purgeable(conn)
    with login_roles(conn, "clerk", "reader"):
        succeed("grant", "clerk", "--as", "purger", to=conn)
        succeed("grant", "reader", "--as", "auditor", to=conn)
        moment = now(conn).isoformat()
        command = ("purge", "--before", moment, "--reason", "7 years", "--dsn")
        refused = step_audit(*command, dsn_of(conn, user="reader"))
        assert refused.code == 3
        assert "permission denied for function purge_step_result_audit_batch" in refused.err
        assert count(conn, AUDIT) == 4
        with connect_again(conn, user="clerk") as clerk:
            for table in (AUDIT, CHANGES, EVENTS):
                with pytest.raises(errors.InsufficientPrivilege):
                    run(clerk, f"SELECT FROM {table}")
            notices: list[str] = []
            clerk.add_notice_handler(lambda notice: notices.append(str(notice.message_primary)))
            procedure = f"{HOST.audit_schema}.purge_step_result_audit"
            run(clerk, f"CALL {procedure}(%s::timestamp, '7 years')", moment)
        assert notices == ["purge complete: 4 audit rows, 4 changes, 0 events"]
        (row,) = conn.execute(
            f"SELECT DISTINCT recorded_by FROM {EVENTS} WHERE kind = 'purged'".encode()
        ).fetchall()
        assert row["recorded_by"] == "clerk"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"p_reason": " "}, "no reason is given"),
        ({"p_reason": "x" * 2001}, "2,000 characters at most"),
        ({"p_before": None}, "a purge needs a time"),
        ({"p_before": datetime(2200, 1, 1)}, "p_before is in the future: 2200-01-01 00:00:00"),
        ({"p_batch_size": 0}, "the batch size must be at least 1, not 0"),
    ],
)
def test_what_could_be_a_mistake_is_refused(
    conn: Connection, arguments: dict[str, Any], said: str
) -> None:
    purgeable(conn)
    was = everything(conn)
    with pytest.raises(errors.InvalidParameterValue, match=said):
        call(
            conn,
            HOST.audit_schema,
            "purge_step_result_audit_batch",
            **{"p_before": now(conn), "p_reason": "7 years"} | arguments,
        )
    assert everything(conn) == was


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("--before", "0001-01-01T00:00:00+05:00"), 2, "is no time in UTC; nothing was purged"),
        (("--before", "9999-12-31T23:59:59-05:00"), 2, "is no time in UTC; nothing was purged"),
        (("--before", "2019-01-01", "--batch", "3000000000"), 2, "less than or equal to 1000000"),
        (("--before", "2019-01-01", "--operator", "\udcff"), 3, "is not UTF-8"),
    ],
)
def test_the_command_says_what_is_wrong_with_an_argument(
    conn: Connection, arguments: tuple[str, ...], code: int, said: str
) -> None:
    done = step_audit("purge", *arguments, "--reason", "7 years", to=conn)
    assert (done.code, said in done.err) == (code, True), done
    assert "unexpected" not in done.err


def test_an_older_snapshot_is_refused(conn: Connection) -> None:
    purgeable(conn)
    run(conn, "SET default_transaction_isolation = 'repeatable read'")
    with pytest.raises(errors.InvalidTransactionState, match="needs READ COMMITTED"):
        batch(conn, now(conn))
    assert count(conn, AUDIT) == 4
    # The command does not take what role or database have set.
    assert purge(conn).records == 4


def test_a_vacuum_of_the_engines_table_does_not_hold_up_a_purge(conn: Connection) -> None:
    purgeable(conn)
    insert_each(conn, [Transition(create_steps(conn)[0], "in_progress", "{}", 1)])
    with (
        connect_again(conn) as reader,
        connect_again(conn) as vacuum,
        ThreadPoolExecutor(1) as pool,
    ):
        # It waits until nobody looks at the page.
        reader.execute(b"BEGIN")
        reader.execute(f"DECLARE c CURSOR FOR SELECT * FROM {HOST.transitions}".encode())
        reader.execute(b"FETCH 1 FROM c")
        done = pool.submit(vacuum.execute, f"VACUUM (FREEZE) {HOST.transitions}".encode())
        progress = b"SELECT FROM pg_stat_progress_vacuum WHERE pid = %s"
        while not conn.execute(progress, (vacuum.info.backend_pid,)).fetchall():
            assert not done.done()
        assert batch(conn, now(conn))["records"] == 4
        assert not done.done()
        reader.execute(b"COMMIT")
        done.result(SECONDS)


# The log.


def test_the_log_goes_on_and_what_was_proved_before_holds(conn: Connection, tmp_path: Path) -> None:
    results = record_results(conn, 300)
    seal(conn)
    key, older, newer, proof = (str(tmp_path / name) for name in ("key", "older", "newer", "proof"))
    public = step_audit("keygen", "example.com/audit", "--out", key).out.strip()
    succeed("checkpoint", "--key", key, "--out", older, "--first", to=conn)
    (row,) = conn.execute(
        f"SELECT workflow_step_result_audit_uuid AS key FROM {AUDIT} "
        "WHERE workflow_step_transition_uuid = %s".encode(),
        (results[7].transition_uuid,),
    ).fetchall()
    signed = ("--public-key", public)
    succeed("prove", str(row["key"]), "--checkpoint", older, "--out", proof, *signed, to=conn)
    clear(conn)
    seal(conn)
    assert purge(conn).records == 300
    assert (count(conn, AUDIT), count(conn, SALTS)) == (0, 0)
    record_results(conn, 2)
    seal(conn)
    # Two results, and the events of purge: of trails and of deleted steps.
    assert count(conn, LEAVES) == 600 + 2 + count(conn, EVENTS)
    assert count(conn, SALTS) == 2 + count(conn, EVENTS)
    succeed("checkpoint", "--key", key, "--out", newer, "--after", older, to=conn)
    succeed("consistency", older, newer, *signed, to=conn)
    succeed("verify-proof", proof, *signed)


def test_what_is_scattered_goes_in_smaller_batches(conn: Connection) -> None:
    results = record_results(conn, 700)
    seal(conn)
    gone = results[::2]
    for each in gone:
        run(
            conn,
            f"DELETE FROM {HOST.transitions} WHERE workflow_step_transition_uuid = %s",
            each.transition_uuid,
        )
    seal(conn)
    assert purge(conn) == Purged(records=350, changes=350, kept_by_engine=350)
    sizes = conn.execute(
        "SELECT count(*) AS ranges, min((payload ->> 'records')::integer) AS records "
        f"FROM {EVENTS} AS e, unnest((payload ->> 'leaves')::int8multirange) AS r "
        "WHERE kind = 'purged' GROUP BY step_audit_event_uuid".encode()
    ).fetchall()
    assert len(sizes) > 1
    assert max(row["ranges"] for row in sizes) <= 128
    assert len(named(conn)) == len(set(named(conn))) == 700


# By which a page is read, and what is looked up for each of its rows.
PHASES = {
    "records": {"idx_audit_recorded_at", "idx_events_removal_xid"},
    "events": {"pk_step_audit_event", "idx_events_result_transition_uuid"},
    "changes": {"pk_step_audit_change"},
    "deleted steps": {"idx_deleted_steps_step_uuid"},
}


@pytest.mark.parametrize(("phase", "indexes"), PHASES.items())
def test_a_batch_costs_what_it_holds(conn: Connection, phase: str, indexes: set[str]) -> None:
    (step,) = create_steps(conn)
    actions = [Transition(step, "cancelled", "{}", number, "pending") for number in range(200)]
    insert_each(conn, actions)
    purgeable(conn, 200)
    run(conn, "ANALYZE")
    plan = plans(
        conn,
        "purge_step_result_audit_batch(p_before => %(now)s::timestamp, p_reason => 'r', "
        f"p_batch_size => 5, p_phase => '{phase}')",
        {"now": now(conn)},
    )
    assert {index for index in indexes if index in plan} == indexes
    # Nor the whole of an index, but for that of the holds, and, where a salt is gone, of erasures
    # while they are few.
    scans = re.findall(r"Scan using (\w+) on (?:step_audit|tasker)_[^\n]*\n +([\w ]+):", plan)
    assert len(scans) > 5
    assert {index for index, condition in scans if condition != "Index Cond"} <= {
        "idx_events_hold_task_uuid",
        "idx_events_removal_xid",
    }
    for each in (AUDIT, ANOMALIES, CHANGES, EVENTS, SALTS, DELETED, LEAVES, HOST.transitions):
        assert f"Seq Scan on {each.rpartition('.')[2]} " not in plan
