"""The audit is installed by tools that run migrations, as docs/installing.md tells."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlencode

from step_audit.database import Connection
from tests.support.command import environment, succeed
from tests.support.connect import dsn_of
from tests.support.dbmate import dbmate
from tests.support.host import HOST
from tests.support.inventory import take_inventory
from tests.support.results import count_audit_rows, record_results

PAGE = (Path(__file__).parents[2] / "docs" / "installing.md").read_text(encoding="utf-8")
OF_TOOLS = PAGE.partition("**By a tool that runs migrations**")[2].partition("\n**")[0]
SQL = ("sql", "--no-transaction", "--schema", HOST.audit_schema)


def is_installed_as_by_the_command(host: Connection, table: str) -> None:
    """The tool's own table aside; and the next statement of the tool found its schema."""
    inventory = take_inventory(host)
    record_results(host, 1)
    assert count_audit_rows(host) == 1
    printed = succeed("install", "--no-backfill", to=host)
    assert "was installed already, nothing changed" in printed
    assert take_inventory(host) == inventory
    assert host.execute(f"SELECT FROM public.{table}".encode()).rowcount == 1


def test_alembic_runs_the_script_of_the_page(host: Connection, tmp_path: Path) -> None:
    (revision,) = re.findall(r"^```python\n(.*?)^```$", OF_TOOLS, re.DOTALL | re.MULTILINE)
    versions = tmp_path / "versions"
    versions.mkdir()
    (versions / "20261127_step_audit.py").write_text(revision)
    (versions / "step_audit.sql").write_text(succeed(*SQL))
    (tmp_path / "env.py").write_text(
        "import psycopg\n"
        "from alembic import context\n"
        "from sqlalchemy import create_engine\n"
        f"engine = create_engine('postgresql+psycopg://', creator=lambda: psycopg.connect("
        f"{dsn_of(host)!r}))\n"
        "with engine.connect() as connection:\n"
        "    context.configure(connection=connection, version_table_schema='public')\n"
        "    with context.begin_transaction():\n"
        "        context.run_migrations()\n"
    )
    (tmp_path / "alembic.ini").write_text(
        f"[alembic]\nscript_location = {tmp_path}\npath_separator = os\n"
    )
    for _ in range(2):
        subprocess.run(
            [sys.executable, "-m", "alembic", "upgrade", "head"],
            cwd=tmp_path,
            env=environment(),
            check=True,
        )
    is_installed_as_by_the_command(host, "alembic_version")


def test_dbmate_runs_the_script_of_the_page(host: Connection, tmp_path: Path) -> None:
    (command,) = re.findall(r"^```console\n\$ (.*?)\n```$", OF_TOOLS, re.DOTALL | re.MULTILINE)
    (tmp_path / "db" / "migrations").mkdir(parents=True)
    (tmp_path / "step_audit.sql").write_text(succeed(*SQL))
    ran = command.replace("step-audit sql --no-transaction", "cat step_audit.sql")
    assert ran != command
    subprocess.run(["bash", "-c", ran], cwd=tmp_path, check=True)
    info = host.info
    parameters = urlencode({"host": info.host, "port": info.port, "sslmode": "disable"})
    url = f"postgres://{info.user}@/{info.dbname}?{parameters}"
    for _ in range(2):
        subprocess.run(
            [dbmate(), "--url", url, "--no-dump-schema", "up"],
            cwd=tmp_path,
            env=environment(),
            check=True,
        )
    is_installed_as_by_the_command(host, "schema_migrations")
