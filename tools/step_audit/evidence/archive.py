"""What an archive of evidence holds, how it is written, and how it is checked offline."""

from __future__ import annotations

import hashlib
import json
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import resources
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

import jinja2

from step_audit.errors import NotProvedError, TrustError
from step_audit.evidence.sample import draw_leaves
from step_audit.trust.checkpoint import Checkpoint, open_checkpoint
from step_audit.trust.proof import ProvedRecord, verify_proof
from step_audit.trust.tlog_proof import from_tlog_proof

FORMAT = "step-audit-evidence/1"

MANIFEST, PAGE = "manifest.json", "index.html"
CHECKPOINT, SEED, KEY = "checkpoint.txt", "seed-checkpoint.txt", "public-key.txt"
RECORDS, CHANGES, ACTIONS = "records.jsonl", "changes.jsonl", "actions.jsonl"
PROOFS = "proofs/"

# An archive of a thousand records of 5 MB is larger than what anybody reads.
_MOST_BYTES = 2 * 2**30

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Checked:
    """What an archive proves: so many records of ``question``, under ``checkpoint``.

    ``seed`` has drawn a sample; ``page_checked``: the page is what this release makes of the rest.
    """

    question: Row
    population: int
    proved: int
    withheld: int
    missing: list[Row]
    checkpoint: Checkpoint
    seed: Checkpoint | None
    page_checked: bool


def record_of(proved: ProvedRecord) -> Row:
    """What a proof says of a record, as it stands in ``records.jsonl``."""
    leaf = proved.leaf
    return {
        "leaf_index": leaf.index,
        "kind": leaf.kind,
        **leaf.audit,
        "from_state": leaf.transition["from_state"],
        "to_state": leaf.transition["to_state"],
        "transition_created_at": leaf.transition["created_at"],
        "recorded_by": proved.opening.recorded_by if proved.opening else None,
    }


def proof_name(record_uuid: object) -> str:
    """The file of a record's proof."""
    return f"{PROOFS}{record_uuid}.tlog-proof"


def lines_of(rows: list[Row]) -> bytes:
    """Rows as JSON lines."""
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def write_archive(file: BinaryIO, manifest: Row, files: Mapping[str, bytes], key: str) -> None:
    """Write an archive: the files, the page that is made of them, and the manifest."""
    page = _render(manifest, files, _prove(files, key))
    whole = {PAGE: page, **files}
    sums = {name: hashlib.sha256(content).hexdigest() for name, content in whole.items()}
    whole[MANIFEST] = json.dumps(manifest | {"files": sums}, indent=1).encode()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in whole.items():
            archive.writestr(name, content)


def verify_archive(path: Path, verifier_key: str, release: str) -> Checked:
    """Check an archive by the log's public key: each file, each record, how a sample was drawn.

    Raises:
        TrustError: it is no such archive, or the key is none.
        NotProvedError: something in it is false.
    """
    files = _read(path)
    try:
        manifest = json.loads(files.pop(MANIFEST))
        question, sums = manifest["question"], manifest["files"]
        missing, population = manifest["missing"], manifest["population"]
        if manifest["format"] != FORMAT:
            raise ValueError(f"its format is not {FORMAT}")
        _check_sums(files, sums)
        checkpoint = open_checkpoint(files[CHECKPOINT].decode(), verifier_key)
        proofs = _prove(files, verifier_key)
        _check_records(_rows(files[RECORDS]), proofs, checkpoint)
        if population != len(proofs) + len(missing):
            raise _false("its records and what is missing are not its population")
        seed = None
        if "sample" in question:
            seed = open_checkpoint(files[SEED].decode(), verifier_key)
            _check_sample(manifest, seed, proofs)
        page_checked = manifest["release"] == release
        if page_checked and _render(manifest, files, proofs) != files[PAGE]:
            raise _false("its page does not show what the other files hold")
    except (KeyError, TypeError, ValueError, RecursionError, AttributeError) as error:
        raise _unreadable(path, str(error)) from error
    withheld = sum(each.opening is None for each in proofs.values())
    return Checked(
        question, population, len(proofs), withheld, missing, checkpoint, seed, page_checked
    )


def _check_sums(files: Mapping[str, bytes], sums: Mapping[str, str]) -> None:
    if files.keys() != sums.keys():
        raise _false("its files are not those of its manifest")
    for name, content in files.items():
        if hashlib.sha256(content).hexdigest() != sums[name]:
            raise _false(f"{name} is not the file of its manifest")


def _prove(files: Mapping[str, bytes], key: str) -> dict[str, ProvedRecord]:
    """Each record that is proved, by its key."""
    proved = {}
    for name, content in files.items():
        if name.startswith(PROOFS):
            found = verify_proof(from_tlog_proof(content.decode()), key)
            record = str(found.leaf.audit["workflow_step_result_audit_uuid"])
            if name != proof_name(record):
                raise _false(f"{name} proves another record")
            proved[record] = found
    return proved


def _check_records(
    records: list[Row], proofs: Mapping[str, ProvedRecord], checkpoint: Checkpoint
) -> None:
    keys = [record["workflow_step_result_audit_uuid"] for record in records]
    if sorted(keys) != sorted(proofs):
        raise _false("its records are not those that are proved")
    for record in records:
        key = record["workflow_step_result_audit_uuid"]
        proved = record_of(proofs[key])
        if {name: record.get(name) for name in proved} != proved:
            raise _false(f"record {key} is not as it was sealed")
        if proofs[key].checkpoint != checkpoint:
            raise _false(f"record {key} is proved by another checkpoint")


def _check_sample(manifest: Row, seed: Checkpoint, proofs: Mapping[str, ProvedRecord]) -> None:
    drawn = manifest["drawn"]
    expected = list(islice(draw_leaves(seed), len(drawn)))
    if [each["leaf_index"] for each in drawn] != expected:
        raise _false("its sample is not the one that the checkpoint draws")
    results = [each["leaf_index"] for each in drawn if each["kind"].endswith("result")]
    wanted = manifest["question"]["sample"]
    # All were drawn, or the last was the last that was wanted.
    complete = len(drawn) == seed.tree_size or (
        len(results) == wanted and drawn[-1]["leaf_index"] == results[-1]
    )
    if not complete or len(results) > wanted:
        raise _false("its sample is not as large as it says")
    shown = [each.leaf.index for each in proofs.values()]
    shown += [each["leaf_index"] for each in manifest["missing"]]
    if sorted(shown) != sorted(results):
        raise _false("it does not show each record that was drawn")


def _read(path: Path) -> dict[str, bytes]:
    # A named pipe is never at its end, nor is a device.
    if path.exists() and not path.is_file():
        raise _unreadable(path, "it is no file")
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            names = [each.filename for each in members]
            if len(set(names)) != len(names):
                raise _unreadable(path, "it has two files of one name")
            if sum(each.file_size for each in members) > _MOST_BYTES:
                raise _unreadable(path, f"it is larger than {_MOST_BYTES} bytes")
            return {name: archive.read(name) for name in names}
    except (zipfile.BadZipFile, zlib.error, RuntimeError, NotImplementedError, EOFError) as error:
        raise _unreadable(path, str(error)) from error


def _rows(content: bytes) -> list[Row]:
    return [json.loads(line) for line in content.decode().splitlines()]


def _render(manifest: Row, files: Mapping[str, bytes], proofs: Mapping[str, ProvedRecord]) -> bytes:
    """The page for people: it holds nothing but what stands in the other files."""
    source = (resources.files("step_audit.evidence") / "page.html").read_text(encoding="utf-8")
    template = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined).from_string(
        source
    )
    records = list(_shown(_rows(files[RECORDS]), proofs))
    text = template.render(
        manifest=manifest,
        records=records,
        changes=_rows(files[CHANGES]),
        actions=_rows(files[ACTIONS]),
        checkpoint=files[CHECKPOINT].decode(),
        key=files[KEY].decode(),
        first=json.dumps(manifest["question"]),
    )
    return text.encode()


def _shown(records: list[Row], proofs: Mapping[str, ProvedRecord]) -> Iterator[Row]:
    for record in records:
        key = record["workflow_step_result_audit_uuid"]
        opening = proofs[key].opening
        yield record | {"proof": proof_name(key), "payload": opening.payload if opening else None}


def _false(reason: str) -> NotProvedError:
    return NotProvedError(f"the evidence is false: {reason}. Do not rely on it.")


def _unreadable(path: Path, reason: str) -> TrustError:
    return TrustError(
        f"{path} cannot be read as evidence: {reason}; nothing was checked. "
        "Get it anew, as a whole."
    )
