"""What docs/deployment.md and the Containerfile name is there: commands, options, metrics."""

from __future__ import annotations

import configparser
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pglast
import pytest
import typer.main
import yaml

from step_audit.cli.cli import app
from step_audit.database import Connection, call
from step_audit.read.web import create_app
from tests.support.host import HOST
from tests.support.results import record_results
from tests.support.roles import login_roles

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "deployment.md").read_text(encoding="utf-8")
CONTAINERFILE = (ROOT / "Containerfile").read_text(encoding="utf-8")
COMMANDS: dict[str, Any] = typer.main.get_command(app).commands  # type: ignore[attr-defined]


def blocks(language: str) -> list[str]:
    found: list[str] = re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
    assert found
    return found


def documents() -> list[Any]:
    return [each for block in blocks("yaml") for each in yaml.safe_load_all(block)]


def units() -> list[configparser.ConfigParser]:
    parsed = []
    for block in blocks("ini"):
        unit = configparser.ConfigParser(interpolation=None)
        unit.optionxform = str  # type: ignore[assignment,method-assign]
        unit.read_string(block)
        parsed.append(unit)
    return parsed


def within(found: Any, key: str) -> Iterator[Any]:
    """Each value of a key, however deep."""
    if isinstance(found, dict):
        if key in found:
            yield found[key]
        found = list(found.values())
    if isinstance(found, list):
        for each in found:
            yield from within(each, key)


def instruction(name: str) -> list[str]:
    (found,) = re.findall(rf"^{name} (\[.*\])$", CONTAINERFILE, re.MULTILINE)
    words: list[str] = yaml.safe_load(found)
    return words


def calls() -> list[list[str]]:
    """Each call of step-audit, without its name."""
    lines = [line[2:] for block in blocks("console") for line in block.splitlines()]
    lines += [line.partition("17 * * * * ")[2] for line in blocks("text")[0].splitlines()[1:]]
    lines += [unit["Service"]["ExecStart"].removeprefix("/usr/local/bin/") for unit in units()]
    shells = [words[2] for words in within(documents(), "command") if words[0] == "sh"]
    lines += [shell.removeprefix("exec ").partition(" <")[0] for shell in shells]
    assert all(line.startswith("step-audit ") for line in lines)
    found = [shlex.split(line)[1:] for line in lines]
    found += [words for words in within(documents(), "command") if words[0] != "sh"]
    found += [*within(documents(), "args"), instruction("CMD")]
    return found


def test_each_call_is_one_that_the_command_takes() -> None:
    assert instruction("ENTRYPOINT") == ["step-audit"]
    seen = set()
    for name, *arguments in calls():
        COMMANDS[name].make_context(name, arguments)
        seen.add(name)
    assert seen == {"install", "grant", "keygen", "watch", "serve"}
    assert len(calls()) > 12


def test_each_variable_is_one_that_a_command_reads() -> None:
    known = {option.envvar for command in COMMANDS.values() for option in command.params}
    named = set(re.findall(r"STEP_AUDIT_[A-Z_]+", PAGE + CONTAINERFILE))
    assert named
    assert named <= known | {"STEP_AUDIT_KEYS"}


def test_each_probe_asks_a_path_and_a_port_that_there_are() -> None:
    paths = {getattr(route, "path", "") for route in create_app("host=/nowhere").routes}
    paths |= set(create_app("host=/nowhere").openapi()["paths"])
    of_health = re.findall(r"urlopen\('http://127\.0\.0\.1:(\d+)(/\w+)'\)", PAGE)
    assert {(port, path in paths) for port, path in of_health} == {("8080", True)}
    for container in (each for found in within(documents(), "containers") for each in found):
        ports = {port["name"]: port["containerPort"] for port in container["ports"]}
        probes = list(within(container, "httpGet"))
        assert probes
        for probe in probes:
            assert probe["path"] in paths
            assert ports[probe["port"]] in {8080, 9187}
    assert "EXPOSE 8080" in CONTAINERFILE
    (port,) = (option for option in COMMANDS["serve"].params if option.name == "port")
    assert port.default == 8080


def test_the_units_have_what_a_unit_needs() -> None:
    names = re.findall(r"^`/etc/systemd/system/(step-audit-\w+)\.service`:$", PAGE, re.MULTILINE)
    assert names == ["step-audit-serve", "step-audit-watch"]
    for unit in units():
        assert set(unit) == {"DEFAULT", "Unit", "Service", "Install"}
        assert unit["Service"]["ExecStart"].startswith("/")
        # The quotes keep the spaces of a connection string together.
        assert re.fullmatch(r'"STEP_AUDIT_DSN=[^"]+"', unit["Service"]["Environment"])
        assert unit["Install"]["WantedBy"] == "multi-user.target"


def test_a_secret_that_is_mounted_is_one_that_is_declared() -> None:
    (compose,) = (each for each in documents() if "services" in each)
    for service in compose["services"].values():
        words = str([service.get("command"), service.get("environment")])
        mounted = set(re.findall(r"/run/secrets/([\w.]+)", words))
        assert mounted <= set(service["secrets"]) <= set(compose["secrets"])
        for volume in service.get("volumes", ()):
            assert volume.partition(":")[0] in compose["volumes"]


def test_each_metric_is_on_the_page_of_its_process() -> None:
    known = "".join(
        (ROOT / "docs" / page).read_text(encoding="utf-8") for page in ("http.md", "trust.md")
    )
    named = set(re.findall(r"step_audit_[a-z_]+(?= [=>]|`)|(?<=- )step_audit_[a-z_]+", PAGE))
    assert len(named) > 5
    for metric in named:
        ending = re.sub("^step_audit_watch(_last_checkpoint)_.*", r"…\1_…", metric)
        assert metric in known or ending in known, metric


@pytest.mark.parametrize("statement", pglast.split("".join(blocks("pgsql"))))
def test_what_pg_cron_runs_is_run_as_its_role(conn: Connection, statement: str) -> None:
    job = re.fullmatch(
        r"SELECT cron\.schedule_in_database\('[^']+', '30 seconds', '([^']+)', 'app', '(\w+)'\)",
        statement,
    )
    assert job
    record_results(conn, 2)
    with login_roles(conn, job[2]):
        call(conn, HOST.audit_schema, "grant_step_audit", p_role=job[2], p_as="sealer")
        with conn.transaction():
            conn.execute(f"SET LOCAL ROLE {job[2]}".encode())
            conn.execute(job[1].replace("step_audit.", f"{HOST.audit_schema}.", 1).encode())
    (status,) = call(conn, HOST.audit_schema, "get_step_audit_status")
    assert status["sealed"] == 2
