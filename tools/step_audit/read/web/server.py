"""``step-audit serve``: the application on uvicorn."""

from __future__ import annotations

import ipaddress
import logging
import socket
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import uvicorn

from step_audit.errors import StepAuditError, UsageError
from step_audit.logs import LogFormat, log_to_stderr
from step_audit.read.web.access_log import AccessLog
from step_audit.read.web.app import create_app
from step_audit.read.web.keys import load_keys

# Seconds that running replies are given when the service is stopped: it ends within one, with all
# that takes.
_GRACE = 0


def serve(
    dsn: str | None,
    schema: str | None,
    host: str,
    port: int,
    key_file: Path | None,
    log_format: LogFormat,
    say: Callable[[str], None],
) -> None:
    """Serve until interrupted; port 0 takes a free one.

    Raises:
        UsageError: the keys cannot be read, or there are none and ``host`` is not loopback.
        CannotConnectError: the connection string is none.
        StepAuditError: the address cannot be taken.
    """
    keys = load_keys(key_file)
    if not keys and not _is_loopback(host):
        raise UsageError(
            f"without keys only this machine is served, and {host} is not loopback. Give keys "
            "with --key-file or STEP_AUDIT_KEYS, or leave --host out."
        )
    app = create_app(dsn, schema, keys)
    # An interrupt is how it is ended.
    with listen(host, port) as listening, suppress(KeyboardInterrupt):
        say(f"step-audit serves {address(listening)}")
        log_to_stderr(log_format)
        config = uvicorn.Config(
            AccessLog(app),
            log_config=None,
            log_level="warning",
            access_log=False,
            timeout_graceful_shutdown=_GRACE,
        )
        server = uvicorn.Server(config)
        # Requests that are cut off at the end are none of its errors, and the failures of others
        # are in their own line already.
        logging.getLogger("uvicorn.error").addFilter(
            lambda record: not (server.should_exit or record.exc_info)
        )
        server.run(sockets=[listening])


def listen(host: str, port: int) -> socket.socket:
    """A socket that takes connections; port 0 is a free one.

    Raises:
        StepAuditError: the address cannot be taken.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listening = socket.create_server((host, port), family=family)
    except (OSError, UnicodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise StepAuditError(f"cannot listen on {host} port {port}: {reason}.") from error
    # Head and body of a reply are two writes: without this the second waits 40 ms for the caller.
    # asyncio sets it only on sockets that it made.
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listening


def address(listening: socket.socket) -> str:
    """The URL of a socket of :func:`listen`."""
    host, port = listening.getsockname()[:2]
    return (
        f"http://[{host}]:{port}"
        if listening.family == socket.AF_INET6
        else f"http://{host}:{port}"
    )


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
