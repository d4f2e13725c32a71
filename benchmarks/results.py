"""What was measured, kept as JSON: by run, by section, each with the machine and the time."""

from __future__ import annotations

import json
import os
import platform
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from benchmarks.measure import Measurement
from step_audit.database import Connection


@dataclass
class Section:
    """The measurements of one module in one run, and what there is to say of them."""

    title: str
    measurements: list[Measurement] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    seconds: float = 0
    measured: str = ""


@dataclass
class Run:
    """One run of the command: sections by name, and where and when."""

    key: str
    scale: str
    machine: dict[str, str]
    notes: list[str] = field(default_factory=list)
    sections: dict[str, Section] = field(default_factory=dict)

    @property
    def major(self) -> int:
        """The major version of its server."""
        return int(self.machine["PostgreSQL"].split(".")[0])

    @property
    def measurements(self) -> dict[str, Measurement]:
        """All measurements by name."""
        return {
            measurement.name: measurement
            for section in self.sections.values()
            for measurement in section.measurements
        }


def describe_machine(conn: Connection) -> dict[str, str]:
    """The machine and the versions, as a reader needs them to compare."""
    (server,) = conn.execute("SHOW server_version").fetchall()
    return {
        "PostgreSQL": server["server_version"],
        "processor": _first_line("/proc/cpuinfo", "model name"),
        "cores": str(os.cpu_count()),
        "memory": _first_line("/proc/meminfo", "MemTotal"),
        "system": f"{platform.system()} {platform.release()}",
        "Python": platform.python_version(),
        "psycopg": version("psycopg"),
        "auditrum": _version_or_none("auditrum"),
        "measured": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
    }


def read(folder: Path) -> dict[str, Run]:
    """The runs that a folder holds, by key: a file for each major, a line for each measurement."""
    runs = {}
    for path in sorted(folder.glob("postgresql_*.jsonl")):
        head, *lines = map(json.loads, path.read_text(encoding="utf-8").splitlines())
        sections = {name: Section(**section) for name, section in head.pop("sections").items()}
        for line in lines:
            sections[line.pop("section")].measurements.append(Measurement(**line))
        runs[head["key"]] = Run(**head, sections=sections)
    return runs


def write(folder: Path, runs: dict[str, Run]) -> None:
    """Write the runs to a folder."""
    for key, run in runs.items():
        head: dict[str, Any] = asdict(run)
        lines = []
        for name, section in head["sections"].items():
            lines += [{"section": name} | each for each in section.pop("measurements")]
        path = folder / f"{key.lower().replace(' ', '_')}.jsonl"
        text = "".join(json.dumps(_rounded(line)) + "\n" for line in (head, *lines))
        path.write_text(text, encoding="utf-8")


def _rounded(value: object) -> object:
    if isinstance(value, float):
        return float(f"{value:.5g}")
    if isinstance(value, list):
        return [_rounded(part) for part in value]
    if isinstance(value, dict):
        return {key: _rounded(part) for key, part in value.items()}
    return value


def _first_line(path: str, name: str) -> str:
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except OSError:
        return "unknown"
    return next(
        (line.partition(":")[2].strip() for line in lines if line.startswith(name)), "unknown"
    )


def _version_or_none(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"
