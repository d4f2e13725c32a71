"""``step-audit watch``: it seals, signs and verifies, tells what is out of order, and goes on."""

from __future__ import annotations

import json
import re
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from step_audit.database import Connection
from step_audit.trust.alarms import TO_DO
from step_audit.trust.archive import KeptCheckpoint, find_newest, proof_path
from step_audit.trust.verify import KINDS
from tests.support.command import step_audit
from tests.support.connect import connect, connect_again, dsn_of
from tests.support.host import HOST, OK
from tests.support.install import install_audit
from tests.support.keys import write_key
from tests.support.results import record_results
from tests.support.roles import login_roles
from tests.support.sealed import SIGNER, VERIFIER_KEY
from tests.support.stopping import SECONDS, locked, wait_for, waits_for_lock
from tests.trust.attacks import AUDIT, TRANSITIONS, unguarded
from tests.trust.watching import Watcher, watching

TOLD = ("raised", "changed")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "checkpoints"


@pytest.fixture
def signing(tmp_path: Path, folder: Path) -> tuple[str, ...]:
    """Options of a watch that signs."""
    return ("--checkpoints", str(folder), "--key", write_key(tmp_path / "audit.key", SIGNER))


@pytest.fixture
def watcher(conn: Connection, signing: tuple[str, ...]) -> Iterator[Watcher]:
    """A watch of a database with some results."""
    record_results(conn, 4)
    with watching(dsn_of(conn), *signing, "--first") as watcher:
        watcher.note("checkpoint ")
        yield watcher


@contextmanager
def without_guards(conn: Connection) -> Iterator[None]:
    """As a superuser who covers up what he does, in one transaction."""
    with conn.transaction(), unguarded(conn):
        yield


def told(watcher: Watcher) -> list[str]:
    """The kinds of alarms, each time that one was raised or had changed."""
    return sorted(said["alarm"] for said in watcher.said if said.get("state") in TOLD)


def newest(folder: Path) -> KeptCheckpoint:
    found = find_newest(folder, VERIFIER_KEY)
    assert found is not None
    return found


def execute(conn: Connection, statement: str) -> None:
    conn.execute(statement.encode())


def test_what_is_recorded_is_sealed_and_signed_and_each_checkpoint_extends_the_one_before(
    conn: Connection, watcher: Watcher, folder: Path
) -> None:
    first = newest(folder)
    assert first.checkpoint.tree_size == 4
    record_results(conn, 3)
    watcher.note("checkpoint ")
    second = newest(folder)
    assert second.checkpoint.tree_size == 7
    done = step_audit(
        *("consistency", str(first.path), str(second.path), "--public-key", VERIFIER_KEY),
        *("--proof", str(proof_path(second.path))),
    )
    assert (done.code, done.err) == (0, "")
    assert watcher.stop() == 0
    assert not [said for said in watcher.said if "alarm" in said]


def test_a_trigger_that_is_off_and_a_result_without_audit_row_are_told_until_mended(
    conn: Connection, watcher: Watcher
) -> None:
    execute(conn, f"ALTER TABLE {HOST.transitions} DISABLE TRIGGER {HOST.trigger}")
    assert "the trigger is disabled" in watcher.alarm("out of order")["what"]
    (result, *_) = record_results(conn, 1)
    missing = watcher.alarm("missing")
    assert missing["count"] == 1
    (finding,) = missing["findings"]
    assert finding["workflow_step_transition_uuid"] == str(result.transition_uuid)
    assert "backfill" in missing["to_do"]

    record_results(conn, 2)
    assert watcher.alarm("missing", "changed")["count"] == 3
    execute(conn, f"ALTER TABLE {HOST.transitions} ENABLE ALWAYS TRIGGER {HOST.trigger}")
    watcher.alarm("out of order", "cleared")
    assert step_audit("backfill", to=conn).code == 0
    watcher.alarm("missing", "cleared")
    assert told(watcher) == ["altered object", "missing", "missing", "out of order"]


def test_a_guard_that_is_off_is_told_once_and_again_when_it_is_on(
    conn: Connection, watcher: Watcher
) -> None:
    execute(conn, f"ALTER TABLE {AUDIT} DISABLE TRIGGER trg_append_only")
    alarm = watcher.alarm("altered object")
    assert alarm["findings"][0]["field"] == f"trigger {AUDIT}.trg_append_only"
    # More rounds, in which it is not told again.
    record_results(conn, 1)
    watcher.alarm("no checkpoint")
    execute(conn, f"ALTER TABLE {AUDIT} ENABLE ALWAYS TRIGGER trg_append_only")
    watcher.alarm("altered object", "cleared")
    watcher.note("checkpoint ")
    watcher.alarm("no checkpoint", "cleared")
    assert told(watcher) == ["altered object", "no checkpoint", "out of order"]


def test_a_seal_that_cannot_be_made_is_told_until_it_can(
    conn: Connection, watcher: Watcher, folder: Path
) -> None:
    with connect_again(conn) as other, other.transaction():
        other.execute("LOCK TABLE step_audit_seals IN EXCLUSIVE MODE")
        record_results(conn, 2)
        watcher.alarm("not sealed")
        assert newest(folder).checkpoint.tree_size == 4
    watcher.alarm("not sealed", "cleared")
    watcher.note("checkpoint ")
    assert newest(folder).checkpoint.tree_size == 6


def test_a_record_that_waits_too_long_for_its_transition_is_told_until_it_is_sealed(
    conn: Connection, signing: tuple[str, ...]
) -> None:
    (lost, *_) = record_results(conn, 2)
    is_lost = f"workflow_step_transition_uuid = '{lost.transition_uuid}'"
    with without_guards(conn):
        execute(conn, f"CREATE TABLE kept AS SELECT * FROM {TRANSITIONS} WHERE {is_lost}")
        execute(conn, f"DELETE FROM {TRANSITIONS} WHERE {is_lost}")
    assert step_audit("seal", to=conn).code == 0
    with without_guards(conn):
        execute(conn, "UPDATE step_audit_seals SET sealed_at = sealed_at - interval '2 hours'")
    with watching(dsn_of(conn), *signing, "--first") as watcher:
        alarm = watcher.alarm("waits too long")
        (finding,) = alarm["findings"]
        assert finding["workflow_step_transition_uuid"] == str(lost.transition_uuid)
        with without_guards(conn):
            execute(conn, f"INSERT INTO {TRANSITIONS} TABLE kept")
        watcher.alarm("waits too long", "cleared")


def test_a_record_that_is_altered_is_told_until_it_is_as_it_was(
    conn: Connection, signing: tuple[str, ...]
) -> None:
    record_results(conn, 4)
    with watching(dsn_of(conn), *signing, "--first", "--verify-all-every", "300ms") as watcher:
        watcher.note("checkpoint ")
        alter = f"UPDATE {AUDIT} SET execution_time_ms = execution_time_ms + %s"
        with without_guards(conn):
            conn.execute(alter.encode(), (1,))
        assert watcher.alarm("altered record")["count"] == 4
        with without_guards(conn):
            conn.execute(alter.encode(), (-1,))
        watcher.alarm("altered record", "cleared")


def test_what_a_verification_of_all_has_found_is_not_cleared_by_one_of_what_is_new(
    conn: Connection, signing: tuple[str, ...]
) -> None:
    record_results(conn, 4)
    assert step_audit("watch", "--once", *signing, "--first", to=conn).code == 0
    alter = f"UPDATE {AUDIT} SET execution_time_ms = execution_time_ms + %s"
    with without_guards(conn):
        conn.execute(alter.encode(), (1,))
    with watching(dsn_of(conn), *signing) as watcher:
        assert watcher.alarm("altered record")["count"] == 4
        # What only a verification of all would see to be mended.
        with without_guards(conn):
            conn.execute(alter.encode(), (-1,))
        record_results(conn, 1)
        watcher.alarm("no checkpoint")
        execute(conn, f"ALTER TABLE {AUDIT} DISABLE TRIGGER trg_append_only")
        watcher.alarm("altered object")
        assert watcher.stop() == 1
    assert told(watcher).count("altered record") == 1
    assert not [said for said in watcher.said if said.get("state") == "cleared"]


def test_a_twin_below_the_newest_checkpoint_is_not_forgotten_and_nothing_is_signed_over_it(
    conn: Connection, signing: tuple[str, ...], folder: Path
) -> None:
    """It is no result, so that only a verification of all meets it."""
    record_results(conn, 4)
    assert step_audit("watch", "--once", *signing, "--first", to=conn).code == 0
    key = f"{HOST.relation(TRANSITIONS)}_pkey"
    execute(conn, f"ALTER TABLE {HOST.transitions} DROP CONSTRAINT {key} CASCADE")
    execute(
        conn,
        f"INSERT INTO {HOST.transitions} ({HOST.columns}, created_at) "
        "SELECT workflow_step_transition_uuid, workflow_step_uuid, from_state, 'complete', "
        f"'{{}}', sort_key + 100, FALSE, created_at FROM {HOST.transitions} "
        f"WHERE to_state = '{OK}' LIMIT 1",
    )
    with watching(dsn_of(conn), *signing) as watcher:
        assert watcher.alarm("doubled")["count"] == 1
        record_results(conn, 1)
        said = watcher.alarm("no checkpoint")["what"]
        assert said.startswith("nothing is signed while a finding stands: doubled")
        # A later round, which reads only what is new.
        execute(conn, f"ALTER TABLE {AUDIT} DISABLE TRIGGER trg_append_only")
        watcher.alarm("altered object")
        assert watcher.stop() == 1
    assert not [said for said in watcher.said if said.get("state") == "cleared"]
    assert newest(folder).checkpoint.tree_size == 4


def test_nothing_is_signed_while_a_finding_stands(
    conn: Connection, watcher: Watcher, folder: Path
) -> None:
    first = newest(folder)
    execute(conn, f"ALTER TABLE {HOST.transitions} DISABLE TRIGGER {HOST.trigger}")
    record_results(conn, 1)
    execute(conn, f"ALTER TABLE {HOST.transitions} ENABLE ALWAYS TRIGGER {HOST.trigger}")
    watcher.alarm("missing")
    record_results(conn, 1)
    alarm = watcher.alarm("no checkpoint")
    assert alarm["what"] == "nothing is signed while a finding stands: missing"
    assert newest(folder) == first
    assert step_audit("backfill", to=conn).code == 0
    watcher.note("checkpoint ")
    watcher.alarm("no checkpoint", "cleared")
    assert newest(folder).checkpoint.tree_size > 4


def test_a_file_that_somebody_puts_into_the_folder_is_named_and_the_watch_goes_on(
    conn: Connection, watcher: Watcher, folder: Path
) -> None:
    stray = folder / "stray.checkpoint"
    stray.write_text("dear")
    alarm = watcher.alarm("no checkpoint")
    assert alarm["what"].startswith(f"{stray} is called like a checkpoint and cannot be read as ")
    execute(conn, f"ALTER TABLE {AUDIT} DISABLE TRIGGER trg_append_only")
    watcher.alarm("altered object")
    execute(conn, f"ALTER TABLE {AUDIT} ENABLE ALWAYS TRIGGER trg_append_only")
    watcher.alarm("altered object", "cleared")
    stray.unlink()
    watcher.alarm("no checkpoint", "cleared")


def test_a_folder_that_is_emptied_is_not_begun_anew(
    conn: Connection, watcher: Watcher, folder: Path
) -> None:
    for file in folder.iterdir():
        file.unlink()
    record_results(conn, 1)
    assert watcher.alarm("no checkpoint")["what"].startswith(f"{folder} has no checkpoint, so ")
    assert not list(folder.iterdir())


@pytest.mark.parametrize("is_there", [True, False])
def test_a_folder_without_a_checkpoint_is_begun_only_where_that_is_said(
    conn: Connection, signing: tuple[str, ...], folder: Path, is_there: bool
) -> None:
    record_results(conn, 1)
    if is_there:
        folder.mkdir()
    done = step_audit("watch", "--once", *signing, to=conn)
    assert (done.code, done.out) == (3, "")
    what = "has no checkpoint" if is_there else "is no folder"
    assert done.err.startswith(f"step-audit: {folder} {what}, so nothing shows that ")
    assert done.err.endswith(": --first, which begins such a folder.\n")
    assert folder.exists() == is_there
    assert step_audit("watch", "--once", *signing, "--first", to=conn).code == 0
    again = step_audit("watch", "--once", *signing, "--first", to=conn)
    assert (again.code, again.out) == (3, "")
    assert f"{folder} has a checkpoint, {newest(folder).path.name}, and --first says" in again.err


def test_a_log_that_was_cut_off_is_told_and_nothing_more_is_signed_until_it_is_back(
    conn: Connection, watcher: Watcher, folder: Path
) -> None:
    tables = ("step_audit_leaves", "step_audit_salts", "step_audit_seals")
    with without_guards(conn):
        for table in tables:
            execute(conn, f"CREATE TABLE kept_{table} AS TABLE {table}")
            execute(conn, f"DELETE FROM {table}")
    # What is there is sealed anew at once.
    watcher.alarm("rewritten log")
    record_results(conn, 1)
    assert newest(folder).checkpoint.tree_size == 4
    with without_guards(conn):
        for table in tables:
            execute(conn, f"DELETE FROM {table}")
            execute(conn, f"INSERT INTO {table} TABLE kept_{table}")
    watcher.alarm("rewritten log", "cleared")
    watcher.note("checkpoint ")
    assert newest(folder).checkpoint.tree_size == 5


def test_a_record_that_is_much_older_than_its_seal_is_told_once(
    conn: Connection, signing: tuple[str, ...]
) -> None:
    record_results(conn, 3)
    with watching(dsn_of(conn), *signing, "--first", "--late", "1ms") as watcher:
        assert watcher.alarm("sealed late")["what"].startswith("3 records were sealed more than")
        watcher.alarm("sealed late", "cleared")


def test_backfilled_records_are_as_old_as_what_they_were_read_from_and_no_alarm(
    host: Connection, signing: tuple[str, ...]
) -> None:
    record_results(host, 3)
    install_audit(host)
    assert step_audit("backfill", to=host).code == 0
    done = step_audit("watch", "--once", "--late", "1ms", *signing, "--first", to=host)
    assert done.code == 0, done.err


def test_it_outlives_the_server_and_tells_when_that_is_gone_for_long(
    new_server: Any, signing: tuple[str, ...], folder: Path
) -> None:
    server = new_server(timezone="UTC")
    with connect(server.dsn()) as conn:
        HOST.create(conn)
        install_audit(conn)
        record_results(conn, 2)
    with watching(server.dsn(), *signing, "--first") as watcher:
        watcher.note("checkpoint ")
        server.stop("immediate")
        watcher.note("not connected, tries again: ")
        watcher.alarm("no connection")
        server.start()
        watcher.note("connected again")
        watcher.alarm("no connection", "cleared")
        with connect(server.dsn()) as conn:
            record_results(conn, 1)
        watcher.note("checkpoint ")
        assert newest(folder).checkpoint.tree_size == 3
        assert watcher.stop() == 0


def test_killed_and_started_again_it_goes_on_from_the_folder(
    conn: Connection, watcher: Watcher, signing: tuple[str, ...], folder: Path
) -> None:
    watcher.process.kill()
    watcher.process.wait()
    first = newest(folder)
    record_results(conn, 2)
    with watching(dsn_of(conn), *signing) as again:
        again.note("checkpoint ")
        second = newest(folder)
        assert again.stop() == 0
    assert second.checkpoint.tree_size == 6
    done = step_audit(
        *("consistency", str(first.path), str(second.path), "--public-key", VERIFIER_KEY),
        *("--proof", str(proof_path(second.path))),
    )
    assert (done.code, done.err) == (0, "")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_and_its_query_and_the_exit_code_tells_of_alarms(
    conn: Connection, watcher: Watcher, number: signal.Signals
) -> None:
    execute(conn, f"ALTER TABLE {AUDIT} DISABLE TRIGGER trg_append_only")
    watcher.alarm("altered object")
    with locked(conn, "step_audit_seals"):
        wait_for(lambda: waits_for_lock(conn), watcher.process)
        start = time.monotonic()
        assert watcher.stop(number) == 1
        assert time.monotonic() - start < SECONDS
        assert not waits_for_lock(conn)
    # The quick look may have come before the guard was taken off.
    told = f"stopped by {number.name}; alarms that stand: altered object"
    assert watcher.said[-1]["note"] in (told, f"{told}, out of order")


def test_a_signal_ends_a_watch_that_sleeps(conn: Connection, signing: tuple[str, ...]) -> None:
    record_results(conn, 1)
    with watching(dsn_of(conn), *signing, "--first", "--seal-every", "1h") as watcher:
        watcher.note("checkpoint ")
        start = time.monotonic()
        assert watcher.stop() == 0
        assert time.monotonic() - start < SECONDS


def test_once_it_seals_verifies_all_signs_and_ends(
    conn: Connection, signing: tuple[str, ...], folder: Path
) -> None:
    record_results(conn, 3)
    done = step_audit("watch", "--once", *signing, "--first", to=conn)
    assert (done.code, done.out) == (0, "")
    assert json.loads(done.err)["note"] == f"checkpoint {newest(folder).path}"
    execute(conn, f"ALTER TABLE {HOST.transitions} DISABLE TRIGGER {HOST.trigger}")
    record_results(conn, 1)
    done = step_audit("watch", "--once", *signing, to=conn)
    assert done.code == 1
    alarms = [json.loads(line)["alarm"] for line in done.err.splitlines()]
    assert alarms == ["out of order", "altered object", "missing"]
    assert newest(folder).checkpoint.tree_size == 3


def test_once_it_finds_again_what_was_altered_below_the_newest_checkpoint(
    conn: Connection, signing: tuple[str, ...], folder: Path
) -> None:
    record_results(conn, 3)
    assert step_audit("watch", "--once", *signing, "--first", to=conn).code == 0
    with without_guards(conn):
        execute(conn, f"UPDATE {AUDIT} SET execution_time_ms = execution_time_ms + 1")
    for _ in range(2):
        record_results(conn, 1)
        done = step_audit("watch", "--once", *signing, to=conn)
        assert done.code == 1
        alarms = [json.loads(line)["alarm"] for line in done.err.splitlines()]
        assert alarms == ["altered record", "mismatch", "no checkpoint"]
    assert newest(folder).checkpoint.tree_size == 3


def test_once_without_a_server_is_an_error(tmp_path: Path) -> None:
    done = step_audit("watch", "--once", "--dsn", f"host={tmp_path}")
    assert done.code == 3
    assert done.err.startswith("step-audit: cannot connect to the database: ")


def test_a_command_is_given_each_alarm_and_its_failure_is_told(
    conn: Connection, signing: tuple[str, ...], tmp_path: Path
) -> None:
    record_results(conn, 1)
    told = tmp_path / "told"
    with watching(
        dsn_of(conn), *signing, "--first", "--on-finding", f"cat >>'{told}'; exit 3"
    ) as watcher:
        watcher.note("checkpoint ")
        execute(conn, f"ALTER TABLE {AUDIT} DISABLE TRIGGER trg_append_only")
        alarm = watcher.alarm("altered object")
        watcher.note("the command of --on-finding ended with 3")
        execute(conn, f"ALTER TABLE {AUDIT} ENABLE ALWAYS TRIGGER trg_append_only")
        cleared = watcher.alarm("altered object", "cleared")
        watcher.note("the command of --on-finding ended with 3")
    handed_over = [json.loads(line) for line in told.read_text().splitlines()]
    assert handed_over == [said for said in watcher.said if "alarm" in said]
    assert alarm in handed_over
    assert cleared in handed_over


def test_a_sealer_who_is_an_auditor_can_watch_and_who_is_not_is_told_what_he_lacks(
    conn: Connection, signing: tuple[str, ...]
) -> None:
    record_results(conn, 2)
    with login_roles(conn, "watchman"):
        assert step_audit("grant", "watchman", "--as", "sealer", to=conn).code == 0
        dsn = dsn_of(conn, user="watchman")
        done = step_audit("watch", "--once", "--dsn", dsn, *signing, "--first")
        assert done.code == 1
        alarm = json.loads(done.err.splitlines()[-1])
        assert alarm["alarm"] == "not verified"
        assert "step-audit grant watchman --as auditor" in alarm["what"]

        assert step_audit("grant", "watchman", "--as", "auditor", to=conn).code == 0
        done = step_audit("watch", "--once", "--dsn", dsn, *signing, "--first")
        assert done.code == 0, done.err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--seal-every", "soon"), "--seal-every is a time like 30s, 5m, 2h or 1d, not 'soon'"),
        (("--late", "0s"), "--late is a time like 30s, 5m, 2h or 1d, not '0s'"),
        (("--checkpoints", "."), "--checkpoints and --key go together"),
        (("--first",), "--first is about a folder of checkpoints, and none is named"),
    ],
)
def test_options_that_cannot_be_taken(options: tuple[str, ...], said: str) -> None:
    done = step_audit("watch", "--once", *options)
    assert done.code == 2
    assert done.err.startswith(f"step-audit: {said}; nothing was done.")


def test_each_kind_of_finding_says_what_to_do() -> None:
    assert KINDS.keys() <= TO_DO.keys()


def test_lines_of_text_tell_the_same(conn: Connection) -> None:
    record_results(conn, 1)
    execute(conn, f"ALTER TABLE {HOST.transitions} DISABLE TRIGGER {HOST.trigger}")
    done = step_audit("watch", "--once", to=conn, STEP_AUDIT_LOG_FORMAT="text")
    assert done.code == 1
    raised = next(line for line in done.err.splitlines() if 'alarm="out of order"' in line)
    assert re.match(
        r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z error "
        r'alarm="out of order" state=raised what="the trigger is disabled.*" to_do="',
        raised,
    )


def test_a_monitoring_system_is_told_what_was_done_when_and_what_stands(
    conn: Connection, signing: tuple[str, ...]
) -> None:
    record_results(conn, 2)
    started = time.time()

    def scrape(address: str) -> dict[str, float]:
        lines = httpx.get(address).text.splitlines()
        return {
            line.rpartition(" ")[0]: float(line.rpartition(" ")[2])
            for line in lines
            if line.startswith("step_audit_watch_")
        }

    def alarm(kind: str) -> str:
        return f'step_audit_watch_alarm{{kind="{kind}"}}'

    with watching(dsn_of(conn), *signing, "--first", "--metrics", "127.0.0.1:0") as watcher:
        address = watcher.note("metrics at ")["note"].removeprefix("metrics at ")
        watcher.note("checkpoint ")
        found = scrape(address)
        for done in ("last_seal", "last_verify", "last_verify_of_all", "last_checkpoint"):
            at = found.pop(f"step_audit_watch_{done}_timestamp_seconds")
            assert started < at <= time.time()
        assert found == {alarm(kind): 0 for kind in TO_DO}
        execute(conn, f"ALTER TABLE {HOST.transitions} DISABLE TRIGGER {HOST.trigger}")
        watcher.alarm("out of order")
        assert scrape(address)[alarm("out of order")] == 1
        assert watcher.stop() == 1


def test_an_address_that_is_none_is_told(conn: Connection) -> None:
    done = step_audit("watch", "--metrics", "9187", to=conn)
    assert (done.code, done.err) == (
        2,
        "step-audit: --metrics is an address like 127.0.0.1:9187, not '9187'; nothing was done.\n",
    )
