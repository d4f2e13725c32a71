"""The command as people expect it: help, version, completion, environment, JSON, exit codes."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer.main

from step_audit import errors
from step_audit.cli.cli import app
from step_audit.cli.examples import EXAMPLES
from step_audit.database import Connection
from step_audit.setup.sources import load_sources
from tests.support.command import STEP_AUDIT, environment, run, status_of, step_audit, succeed
from tests.support.host import HOST
from tests.support.results import record_results

PAGE = (Path(__file__).parents[2] / "docs" / "command.md").read_text(encoding="utf-8")
USAGE = errors.UsageError.exit_code
COMMANDS: dict[str, Any] = typer.main.get_command(app).commands  # type: ignore[attr-defined]


def test_h_is_help_of_all_and_of_each() -> None:
    for arguments in ([], ["seal"]):
        assert succeed(*arguments, "-h") == succeed(*arguments, "--help") != ""


def test_the_version_is_the_release() -> None:
    assert succeed("--version") == f"step-audit {load_sources().release}\n"


def test_each_command_has_an_example_that_it_takes() -> None:
    assert set(EXAMPLES) == set(COMMANDS)
    for name, example in EXAMPLES.items():
        program, called, *arguments = shlex.split(example, comments=True)
        assert (program, called) == ("step-audit", name)
        arguments = arguments[: arguments.index(">")] if ">" in arguments else arguments
        COMMANDS[name].make_context(name, list(arguments))
        assert f"Example:\n  {example}" in COMMANDS[name].epilog


def options_of(command: Any) -> list[Any]:
    return [each for each in command.params if each.param_type_name == "option"]


def test_each_option_is_an_environment_variable_of_its_own_name() -> None:
    common = set(re.findall(r"^\| `(STEP_AUDIT_\w+)` \|", PAGE, re.MULTILINE))
    seen = set()
    for name, command in COMMANDS.items():
        for option in options_of(command):
            called = max(option.opts, key=len).removeprefix("--")
            own = f"{name}_{called}"
            assert option.envvar in {
                f"STEP_AUDIT_{text.upper().replace('-', '_')}" for text in (own, called)
            }
            if not option.envvar.endswith(own.upper().replace("-", "_")):
                seen.add(option.envvar)
    assert seen == common


def test_the_environment_is_taken_and_the_command_line_goes_before(conn: Connection) -> None:
    printed = step_audit("seal", to=conn, STEP_AUDIT_SEAL_JSON="1")
    assert json.loads(printed.out)["sealed"] == 0
    refused = step_audit("seal", to=conn, STEP_AUDIT_SCHEMA="nowhere")
    assert "step-audit is not installed in schema nowhere." in refused.err
    given = ("--schema", HOST.audit_schema)
    assert step_audit("seal", *given, to=conn, STEP_AUDIT_SCHEMA="nowhere").code == 0
    assert step_audit("seal", to=conn, STEP_AUDIT_SEAL_JSON="perhaps").code == USAGE


def test_a_dump_is_verified_where_the_environment_names_a_database(tmp_path: Path) -> None:
    done = step_audit("verify", "--dump", str(tmp_path / "none"), STEP_AUDIT_DSN="host=nowhere")
    assert "is no folder" in done.err
    done = step_audit("verify", "--dump", str(tmp_path), "--dsn", "host=nowhere")
    assert "--dump needs no database" in done.err


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_completes_commands(shell: str) -> None:
    done = subprocess.run(
        STEP_AUDIT,
        env=environment(
            _STEP_AUDIT_COMPLETE=f"complete_{shell}",
            COMP_WORDS="step-audit verify-p",
            COMP_CWORD="1",
            _TYPER_COMPLETE_ARGS="step-audit verify-p",
            _TYPER_COMPLETE_FISH_ACTION="get-args",
        ),
        capture_output=True,
        text=True,
        check=False,
    )
    assert "verify-proof" in done.stdout
    assert "history" not in done.stdout


def test_status_tells_by_its_exit_code(host: Connection) -> None:
    record_results(host, 1)
    succeed("install", "--no-backfill", to=host)
    assert run("status", to=host).code == 1
    succeed("backfill", to=host)
    assert run("status", to=host).code == 0
    host.execute(f"ALTER TABLE {HOST.transitions} DISABLE TRIGGER {HOST.trigger}".encode())
    assert run("status", to=host).code == 1
    succeed("detach", to=host)
    done = run("status", "--quiet", to=host)
    assert (done.code, done.out, done.err) == (1, "", "")


def test_what_is_done_is_told_as_json(host: Connection) -> None:
    record_results(host, 3)
    past = {"backfilled": 3, "passed_over": 0}
    none = {"backfilled": None, "passed_over": None}
    here = {"schema": HOST.audit_schema}

    def told(*arguments: str) -> dict[str, Any]:
        printed: dict[str, Any] = json.loads(succeed(*arguments, "--json", to=host))
        assert isinstance(printed.pop("notes", []), list)
        return printed

    assert told("install", "--no-backfill") == here | none | {"changed": True}
    assert told("backfill") == past
    assert told("attach") == here | {"changed": False, "backfilled": 0, "passed_over": 0}
    sealed = told("seal")
    assert (sealed["sealed"], sealed["tree_size"], len(sealed["root_hash"])) == (3, 3, 64)
    assert told("verify")["findings"] == []


def test_what_is_quiet_says_nothing(host: Connection) -> None:
    record_results(host, 2)
    for command in ("install", "backfill", "seal", "verify", "status", "detach", "attach"):
        assert succeed(command, "--quiet", to=host) == ""
    assert succeed("uninstall", "--yes", "-q", to=host) == ""


@pytest.mark.parametrize(
    ("given", "meant"), [("5", "5s"), ("0.5", "0.5s"), ("7s", "7s"), ("200ms", "200ms")]
)
def test_a_lock_timeout_without_a_unit_is_seconds(given: str, meant: str) -> None:
    assert f"set_config('lock_timeout', '{meant}', TRUE)" in succeed("sql", "--lock-timeout", given)


@pytest.mark.parametrize(
    ("command", "module", "extra"),
    [
        ("serve", "fastapi", "web"),
        ("serve", "psycopg_pool", "web"),
        ("watch --metrics 127.0.0.1:0", "prometheus_client", "web"),
        ("demo", "httpx", "embedded"),
    ],
)
def test_a_missing_extra_names_its_install_line(command: str, module: str, extra: str) -> None:
    program = (
        f"import sys; sys.modules[{module!r}] = None; "
        f"from step_audit.cli.cli import main; main({command.split()!r})"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    said = f"{module} is not installed. Install it: pip install 'step-audit[{extra}]'."
    assert (done.returncode, done.stdout, done.stderr) == (3, "", f"step-audit: {said}\n")


def test_a_client_without_its_extra_names_its_install_line() -> None:
    program = "import sys; sys.modules['httpx'] = None; from step_audit import AuditClient"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert done.stderr.splitlines()[-1].endswith(
        "httpx is not installed. Install it: pip install 'step-audit[client]'."
    )


def test_each_exit_code_is_on_the_page() -> None:
    kinds = [each for each in vars(errors).values() if isinstance(each, type)]
    ours = {each.exit_code for each in kinds if issubclass(each, errors.StepAuditError)}
    row = re.findall(r"^\| ([\d, ]+) \|", PAGE, re.MULTILINE)
    listed = {int(code) for codes in row for code in codes.split(",")}
    assert listed >= ours | {0, USAGE, 130, 143}


def test_the_commands_of_the_page_print_what_it_shows(conn: Connection) -> None:
    assert f"$ step-audit seal --json\n{succeed('seal', '--json', to=conn)}" in PAGE
    assert status_of(conn)["unaudited"] == 0
    assert succeed("status", "--quiet", to=conn) == ""
