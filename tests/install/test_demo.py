"""The demo plays everything on a server of its own, and names the psql line to go on with."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path

import httpx
import pytest

from step_audit.demo.embedded import EmbeddedServer, make_reachable
from tests.support.command import Done, environment, step_audit
from tests.support.postgres import client_binaries


def test_demo_plays_all_and_is_gone_on_with_by_the_lines_it_prints(server_folder: Path) -> None:
    done, server = _demo(server_folder / "data", "--keep")
    try:
        assert (done.code, done.err) == (0, "")
        psql = re.findall(r"^  (\S*/psql .*)$", done.out, re.M)[0]
        query = re.findall(r"^  (SELECT .*;)$", done.out, re.M)[0]
        history = _run(psql, query)
        assert len(history) == len(re.findall(r"^\d{4}-", done.out, re.M)) == 4
        assert _run(psql, "SELECT unaudited FROM get_step_audit_status()") == ["0"]
        (page,) = re.findall(r"^  (http://127\.0\.0\.1:\d+/tasks/\S+)$", done.out, re.M)
        assert "charge_card" in httpx.get(page, headers={"Accept": "text/html"}).text
        assert "step-audit demo --stop" in done.out

        # The next demo takes the place of the kept one.
        done, _ = _demo(server_folder / "data")
        assert (done.code, done.err) == (0, "")
        assert not server.is_running()
        with pytest.raises(httpx.ConnectError):
            httpx.get(page)
    finally:
        server.remove()

    assert re.search(r"^step-audit installed; backfill wrote \d+ audit rows", done.out, re.M)
    assert re.search(r"the trigger wrote \d+ audit rows", done.out, re.M)
    for step in ("validate_order", "charge_card", "ship_order"):
        assert re.search(rf"^\d{{4}}-.* {step} +true ", done.out, re.M)
    assert re.search(r" charge_card +false ", done.out)
    assert psql in done.out
    assert "step-audit demo --keep" in done.out


def test_a_kept_demo_is_stopped_and_stopping_none_is_no_error(server_folder: Path) -> None:
    kept, server = _demo(server_folder / "kept", "--keep")
    try:
        (page,) = re.findall(r"^  (http://\S+)$", kept.out, re.M)
        for words in ("the demo's server and service are stopped", "no demo is running"):
            done, _ = _demo(server_folder / "kept", "--stop")
            assert done == Done(0, f"{words}\n", "")
            assert not server.is_running()
            with pytest.raises(httpx.ConnectError):
                httpx.get(page)
    finally:
        server.remove()


def _demo(data_home: Path, *options: str) -> tuple[Done, EmbeddedServer]:
    data_home.mkdir(exist_ok=True)
    done = step_audit("demo", *options, XDG_DATA_HOME=str(data_home))
    folder = data_home / "step-audit"
    return done, EmbeddedServer(folder / "demo", make_reachable(client_binaries(), folder))


def _run(psql: str, query: str) -> list[str]:
    done = subprocess.run(
        [*shlex.split(psql), "-XAt", "-c", query],
        env=environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.splitlines()
