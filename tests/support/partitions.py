"""The engine's transitions, partitioned by time as large engines have them."""

from __future__ import annotations

from typing import Any

import psycopg

from tests.support.host import HOST


def partition_transitions(conn: psycopg.Connection[Any]) -> None:
    """Make the transitions, which have no row yet, partitioned by month; others have a default."""
    table = HOST.transitions
    conn.execute(f"ALTER TABLE {table} RENAME TO plain".encode())
    plain = f"{HOST.schemas[-1]}.plain"
    conn.execute(
        f"""
        CREATE TABLE {table} (
            LIKE {plain} INCLUDING DEFAULTS,
            PRIMARY KEY (workflow_step_transition_uuid, created_at),
            FOREIGN KEY (workflow_step_uuid) REFERENCES {HOST.steps}
        ) PARTITION BY RANGE (created_at);
        CREATE TABLE {table}_2020_01 PARTITION OF {table}
        FOR VALUES FROM ('2020-01-01') TO ('2020-02-01');
        CREATE TABLE {table}_default PARTITION OF {table} DEFAULT;
        DROP TABLE {plain} CASCADE
        """.encode()
    )
