"""The server that is measured: the embedded one of a major version, set up for measuring."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from step_audit.demo.embedded import EmbeddedServer, make_reachable
from tests.support.postgres import download, server_binaries

# No disk is waited for, which would hide what the processor does, and nothing runs by itself.
SETTINGS = {
    "autovacuum": "off",
    "bgwriter_lru_maxpages": "0",
    "checkpoint_timeout": "1h",
    "maintenance_work_mem": "256MB",
    "max_wal_size": "32GB",
    "shared_buffers": "1GB",
    "timezone": "UTC",
    "wal_level": "replica",
}


@contextmanager
def running_server(major: int) -> Iterator[EmbeddedServer]:
    """A new server, which goes with its data at the end."""
    download(major)
    with tempfile.TemporaryDirectory(prefix="step-audit-") as folder:
        Path(folder).chmod(0o755)
        binaries = make_reachable(server_binaries(major), Path(folder))
        server = EmbeddedServer(Path(folder) / "server", binaries)
        server.create(SETTINGS)
        try:
            yield server
        finally:
            server.remove()
