"""Connections of tests, which find engine and audit; the product is given none of their options."""

from __future__ import annotations

from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.rows import dict_row

from step_audit.database import Connection
from tests.support.host import HOST, Host


def connect(dsn: str, host: Host = HOST, **parameters: Any) -> Connection:
    """Connect in autocommit, with the search_path of the layout."""
    return psycopg.connect(
        dsn, autocommit=True, row_factory=dict_row, options=host.options, **parameters
    )


def connect_again(conn: psycopg.Connection[Any], **parameters: Any) -> Connection:
    """Another connection to the same database, as ``parameters`` have it."""
    return connect(conn.info.dsn, **parameters)


def dsn_of(conn: psycopg.Connection[Any], **parameters: str) -> str:
    """Connection string of the same database, changed by ``parameters``, as a user gives it."""
    known = conninfo_to_dict(conn.info.dsn, **parameters)
    known.pop("options")
    return make_conninfo("", **known)
