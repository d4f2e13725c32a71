"""A call of each command, as its help shows it."""

from __future__ import annotations

from collections.abc import Mapping

_STEP = "0199f3a2-5e1c-7c3a-9a41-6f0d2b8c1e57"
_SIGNED = "--checkpoint log.checkpoint --public-key audit.pub"

EXAMPLES: Mapping[str, str] = {
    "install": "step-audit install --dsn 'host=db dbname=app user=app' --lock-timeout 2s",
    "status": "step-audit status --json",
    "backfill": "step-audit backfill --batch-size 1000 --pause 0.2",
    "seal": "step-audit seal",
    "verify": f"step-audit verify {_SIGNED}",
    "history": f"step-audit history {_STEP} --format jsonl",
    "list": "step-audit list --failure --from 2026-11-01 --format csv --all",
    "changes": f"step-audit changes --task {_STEP} --format jsonl",
    "export": "step-audit export --after-leaf 12345 --format jsonl --out log-2026-11.jsonl",
    "actions": "step-audit actions --unattributed",
    "attribute": f"step-audit attribute {_STEP} --operator ann --reason 'ticket 4711'",
    "hold": f"step-audit hold --task {_STEP} --reason 'litigation'",
    "release": f"step-audit release {_STEP} --reason 'settled'",
    "holds": "step-audit holds --all",
    "purge": "step-audit purge --before 2019-01-01 --reason 'retention' --dry-run",
    "erase": f"step-audit erase --task {_STEP} --reason 'request 62' --dry-run",
    "sql": "step-audit sql --no-transaction > migrations/step_audit.sql",
    "build-extension": "step-audit build-extension ./extension",
    "detach": "step-audit detach",
    "attach": "step-audit attach",
    "grant": "step-audit grant dashboards --as reader",
    "uninstall": "step-audit uninstall --yes",
    "keygen": "step-audit keygen example.com/audit --out audit.key",
    "checkpoint": "step-audit checkpoint --key audit.key --folder /var/lib/step-audit",
    "consistency": "step-audit consistency old.checkpoint new.checkpoint --public-key audit.pub",
    "watch": "step-audit watch --checkpoints /var/lib/step-audit --key audit.key",
    "prove": f"step-audit prove {_STEP} {_SIGNED} --out proof.json",
    "verify-proof": "step-audit verify-proof proof.json --public-key audit.pub",
    "evidence": f"step-audit evidence {_SIGNED} --sample 25 --out evidence.zip",
    "verify-evidence": "step-audit verify-evidence evidence.zip --public-key audit.pub",
    "serve": "step-audit serve --key-file keys.txt --host 0.0.0.0 --log-format json",
    "demo": "step-audit demo --keep",
}
