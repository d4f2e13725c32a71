"""What is prepared, through failovers: of Postgres alone, without the audit."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chaos.cluster import Cluster, lost_transactions, start_cluster
from tests.support import replication

_LOG = """
LOG:  entering standby mode
WARNING:  removing future two-phase state file for transaction 775
WARNING:  could not remove file "pg_twophase/FFFFFFFF00000307": No such file or directory
WARNING:  removing future two-phase state file for transaction 776
WARNING:  could not recover two-phase state file for transaction 775
DETAIL:  Two-phase state file has been found in WAL record 0/938DF8, but this transaction has already been restored from disk.
WARNING:  could not recover two-phase state file for transaction 777
"""  # noqa: E501


@pytest.fixture
def cluster(server_folder: Path) -> Iterator[Cluster]:
    folder = server_folder / "prepared"
    folder.mkdir(mode=0o755)
    started = start_cluster(folder)
    yield started
    started.remove()


def test_what_is_prepared_when_a_server_is_rewound_is_prepared_when_it_is_promoted(
    cluster: Cluster,
) -> None:
    first = cluster.primary
    with cluster.connect("writer").conn as conn:
        conn.execute("CREATE TABLE written (number integer)")
        conn.execute("CHECKPOINT")
        for number in range(3):
            conn.execute("BEGIN")
            conn.execute("INSERT INTO written VALUES (%s)", (number,))
            conn.execute(f"PREPARE TRANSACTION 'number {number}'".encode())
        flushed = _cut_off(cluster)
        conn.execute("COMMIT PREPARED 'number 0'")
        conn.execute("ROLLBACK PREPARED 'number 1'")
    cluster.fail_over(flushed)
    replication.rewind(cluster.standby, cluster.primary)
    cluster.fail_over(_cut_off(cluster))
    assert cluster.primary is first
    with cluster.connect("reader").conn as conn:
        rows = conn.execute(
            "SELECT gid, pg_visible_in_snapshot(transaction::text::xid8, pg_current_snapshot()) "
            "AS has_ended FROM pg_prepared_xacts ORDER BY gid"
        ).fetchall()
        expected = [{"gid": f"number {number}", "has_ended": False} for number in range(3)]
        assert rows == expected
        # A vacuum removes what it takes for aborted.
        conn.execute("VACUUM written")
        for number in range(3):
            conn.execute(f"COMMIT PREPARED 'number {number}'".encode())
        rows = conn.execute("SELECT number FROM written ORDER BY number").fetchall()
        assert [row["number"] for row in rows] == [0, 1, 2]


def test_what_postgres_has_lost_is_read_from_its_log() -> None:
    assert lost_transactions(_LOG) == {"775"}


def _cut_off(cluster: Cluster) -> str:
    primary, standby = cluster.primary, cluster.standby
    replication.wait_until(lambda: replication.has_caught_up(standby, primary), "caught up")
    return replication.cut_off(standby)
