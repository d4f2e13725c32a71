"""What a watch is to do, and how often."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from step_audit.database import Connection, connect, conninfo
from step_audit.trust import archive
from step_audit.trust.note import SignerKey

# Unless the connection string says otherwise, a network that swallows all is noticed too.
_CONNECTION = {
    "connect_timeout": "10",
    "tcp_user_timeout": "30000",
    "keepalives_idle": "10",
    "keepalives_interval": "5",
    "keepalives_count": "3",
}


@dataclass(frozen=True)
class Plan:
    """What to watch, and how often.

    Attributes:
        dsn: as :func:`step_audit.database.connect` takes it.
        schema: where step-audit is installed; found if not given.
        folder: of checkpoints; None signs none.
        signer_key: the log's private key, where there is a folder.
        is_first: whether the folder has no checkpoint yet.
        seal_every: seconds.
        verify_every: seconds between verifications of what is new.
        verify_all_every: seconds between those of all.
        late: how much older than its seal a record may be.
        patience: seconds that a lock, a standby or the connection is waited for.
    """

    dsn: str | None
    schema: str | None
    folder: Path | None
    signer_key: str | None
    is_first: bool = False
    seal_every: float = 30.0
    verify_every: float = 300.0
    verify_all_every: float = 86400.0
    late: timedelta = timedelta(hours=1)
    patience: float = 60.0

    @property
    def origin(self) -> str:
        """The name of the log."""
        return SignerKey.from_text(self.signer_key).name if self.signer_key else ""

    def find_previous(self, is_first: bool) -> archive.KeptCheckpoint | None:
        """The newest checkpoint of the folder; None where there is no folder, or it is the first.

        Raises:
            TrustError: it, or the key, cannot be read, or is not signed by this key.
            RefusedError: the folder has none though it is not the first, or the other way round.
        """
        if not (self.folder and self.signer_key):
            return None
        verifier = SignerKey.from_text(self.signer_key).verifier.to_text()
        return archive.find_previous(self.folder, verifier, is_first)

    def connect(self) -> Connection:
        """Connect, so that a lost connection is noticed.

        Raises:
            CannotConnectError: the server cannot be reached.
        """
        try:
            dsn = make_conninfo("", **{**_CONNECTION, **conninfo_to_dict(conninfo(self.dsn))})
        except psycopg.ProgrammingError:
            # connect() tells what is wrong with it.
            dsn = self.dsn or ""
        return connect(dsn)
