"""Who is let in: keys, and where the service may listen without any."""

from __future__ import annotations

import gc
import os
import socket
from pathlib import Path

import httpx
import psycopg
import pytest

from step_audit.database import Connection
from step_audit.read.web import create_app
from step_audit.read.web.keys import Keys
from step_audit.read.web.server import listen
from tests.support.command import Done, step_audit
from tests.support.connect import dsn_of
from tests.support.service import running_command, serving

# Long enough that no other string of this process is it by chance.
KEY = "a-key-of-forty-two-characters-for-the-tests"
OTHER = "another-key-for-the-tests"


def statuses(address: str, *headers: dict[str, str] | list[tuple[bytes, bytes]]) -> set[int]:
    return {httpx.get(f"{address}/v1/audit", headers=header).status_code for header in headers}


def assert_guarded(address: str) -> None:
    assert statuses(
        address,
        {"Authorization": f"Bearer {KEY}"},
        {"authorization": f"bearer {OTHER}"},
        {"X-API-Key": KEY},
        {"Authorization": "Basic abc", "X-API-Key": OTHER},
        {"Authorization": "Bearer wrong", "X-API-Key": OTHER},
    ) == {200}
    assert statuses(
        address,
        {},
        {"Authorization": "Bearer wrong"},
        {"Authorization": "Bearer"},
        {"Authorization": ""},
        {"Authorization": KEY},
        {"Authorization": f"Basic {KEY}"},
        {"X-API-Key": ""},
        {"X-API-Key": KEY[:-1]},
        {"X-API-Key": f"{KEY},{OTHER}"},
        {"X-API-Key": "# a comment"},
        [(b"X-API-Key", "schlüssel".encode())],
        [(b"Authorization", b"Bearer \xff\xfe")],
    ) == {401}


def test_keys_of_a_file_let_in_and_nothing_else(conn: Connection, tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text(f"# a comment\n\n  {KEY}  \r\n{OTHER}\n")
    with running_command("--dsn", dsn_of(conn), "--key-file", str(file)) as address:
        assert_guarded(address)
        assert httpx.get(f"{address}/health").status_code == 200
        assert httpx.get(f"{address}/openapi.json").status_code == 200


def test_keys_of_the_environment_let_in_on_any_host(conn: Connection) -> None:
    arguments = ("--dsn", dsn_of(conn), "--host", "0.0.0.0")
    with running_command(*arguments, STEP_AUDIT_KEYS=f"{KEY}, {OTHER},,") as address:
        assert_guarded(address.replace("0.0.0.0", "127.0.0.1"))


def test_without_a_key_nothing_is_told(conn: Connection) -> None:
    with serving(create_app(dsn_of(conn), keys=Keys([KEY]))) as address:
        for path in ("/v1/audit", "/v1/audit?limit=0", "/v1/tasks/x/audit", "/v1/audit/x"):
            reply = httpx.get(f"{address}{path}")
            assert reply.status_code == 401
            assert reply.headers["www-authenticate"] == "Bearer"
            assert reply.json() == {
                "error": {"code": "UNAUTHORIZED", "message": "a valid key is needed"}
            }


def test_only_hashes_are_kept() -> None:
    # Built here, so that no constant of this module is the same object.
    key = "-".join(["secret", "key", "62"])
    keys = Keys([key])
    assert keys.accept(key)
    reached: list[object] = [vars(keys)]
    texts = []
    while reached:
        thing = reached.pop()
        texts.append(repr(thing))
        if isinstance(thing, dict | list | tuple):
            reached += gc.get_referents(thing)
    assert len(texts) > 2
    assert key not in "".join(texts)


def test_no_key_is_no_key() -> None:
    assert not Keys([])
    assert not Keys([""])
    assert not Keys(["", KEY]).accept("")
    assert not Keys([KEY]).accept(None)


def refused(done: Done, message: str, code: int = 2) -> None:
    assert done == Done(code, "", f"step-audit: {message}\n")


def test_a_key_file_must_hold_keys(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    refused(
        step_audit("serve", "--key-file", str(file)),
        f"the key file {file} cannot be read: No such file or directory.",
    )
    refused(
        step_audit("serve", "--key-file", str(tmp_path)),
        f"{tmp_path} is a folder, and not a file; nothing was done. Name the file.",
    )
    file.write_text("# nothing but this\n\n")
    refused(
        step_audit("serve", "--key-file", str(file)),
        f"the key file {file} holds no key. Write one key a line.",
    )
    file.write_bytes(b"\xff\xfe\x00")
    refused(
        step_audit("serve", "--key-file", str(file)),
        f"the key file {file} is not text in UTF-8; nothing is served. Is it the right file?",
    )
    file.write_text("schlüssel\n")
    words = "holds a key that cannot be sent in a header. Use printable ASCII."
    refused(step_audit("serve", "--key-file", str(file)), f"the key file {file} {words}")
    refused(step_audit("serve", STEP_AUDIT_KEYS="schlüssel"), f"STEP_AUDIT_KEYS {words}")


def test_no_name_of_a_key_file_stops_or_fills_the_service(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "device").symlink_to("/dev/zero")
    with (tmp_path / "large").open("wb") as file:
        file.truncate(2**40)
    for name, said in (
        ("pipe", "is a pipe, and not a file; nothing is served. "),
        ("device", "is a device, and not a file; nothing is served. "),
        ("large", "has more than 2 MiB; nothing is served. "),
    ):
        done = step_audit("serve", "--key-file", str(tmp_path / name))
        assert (done.code, done.out) == (2, "")
        assert done.err.startswith(f"step-audit: the key file {tmp_path / name} {said}")


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.org"])
def test_without_keys_only_loopback_is_served(host: str) -> None:
    refused(
        step_audit("serve", "--host", host, STEP_AUDIT_KEYS=" , "),
        f"without keys only this machine is served, and {host} is not loopback. Give keys "
        "with --key-file or STEP_AUDIT_KEYS, or leave --host out.",
    )


def test_a_taken_port_and_an_address_of_another_machine_are_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = step_audit("serve", "--port", str(port))
    assert (done.code, done.out) == (3, "")
    assert done.err.startswith(f"step-audit: cannot listen on 127.0.0.1 port {port}: Address alr")
    assert done.err.count("\n") == 1

    done = step_audit("serve", "--host", "192.0.2.1", "--port", "0", STEP_AUDIT_KEYS=KEY)
    assert (done.code, done.out) == (3, "")
    assert "cannot listen on 192.0.2.1 port 0: Cannot assign requested address" in done.err


def test_no_reply_waits_for_the_caller_to_acknowledge_its_head() -> None:
    with (
        listen("127.0.0.1", 0) as listening,
        socket.create_connection(listening.getsockname()),
        listening.accept()[0] as accepted,
    ):
        assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_a_connection_string_that_is_none_is_told() -> None:
    done = step_audit("serve", "--dsn", "no connection string")
    assert (done.code, done.out) == (3, "")
    assert done.err.startswith("step-audit: the connection string is none: ")
    assert done.err.count("\n") == 1


def test_without_the_extra_it_says_what_to_install(tmp_path: Path) -> None:
    (tmp_path / "fastapi.py").write_text(
        "raise ModuleNotFoundError(\"No module named 'fastapi'\", name='fastapi')"
    )
    refused(
        step_audit("serve", PYTHONPATH=str(tmp_path)),
        "fastapi is not installed. Install it: pip install 'step-audit[web]'.",
        code=3,
    )


def test_the_database_is_not_needed_to_start_nor_to_refuse_a_key() -> None:
    nowhere = psycopg.conninfo.make_conninfo(host="/nowhere")
    with serving(create_app(nowhere, keys=Keys([KEY]))) as address:
        assert httpx.get(f"{address}/v1/audit").status_code == 401
