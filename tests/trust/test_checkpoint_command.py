"""checkpoint and consistency, as a user runs them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import pytest

from step_audit.database import Connection
from step_audit.errors import RefusedError
from step_audit.trust.archive import name_checkpoint, write_with_proof
from step_audit.trust.checkpoint import Checkpoint, open_checkpoint, sign_checkpoint
from step_audit.trust.consistency import ConsistencyProof, check_proof
from step_audit.trust.note import generate_key
from tests.support.command import Done, run, step_audit, succeed
from tests.support.keys import write_key
from tests.support.results import record_results
from tests.support.sealed import SIGNER, SIGNER_KEY, VERIFIER_KEY
from tests.trust.attacks import LEAVES, unguarded


@dataclass
class Keeper:
    """A database, and who keeps its checkpoints."""

    conn: Connection
    tmp: Path
    key: str

    def grow(self, results: int = 1) -> None:
        record_results(self.conn, results)
        succeed("seal", to=self.conn)

    def checkpoint(self, *options: str) -> Done:
        return run("checkpoint", "--key", self.key, *options, to=self.conn)

    def keep(self, name: str, *options: str) -> Path:
        """Write a checkpoint into a file of this name, without a word."""
        out = ("--out", str(self.tmp / name))
        assert self.checkpoint(*out, *(options or ["--first"])) == Done(0, "", "")
        return self.tmp / name

    def keep_in_folder(self) -> Path:
        first = () if Path(self.folder).exists() else ("--first",)
        done = self.checkpoint("--folder", self.folder, *first)
        assert (done.code, done.err) == (0, "")
        return Path(done.out.removesuffix("\n"))

    @property
    def folder(self) -> str:
        return str(self.tmp / "kept" / "checkpoints")

    def consistency(self, old: Path, new: Path, *options: str) -> Done:
        key = ("--public-key", VERIFIER_KEY)
        return run("consistency", str(old), str(new), *key, *options, to=self.conn)

    def rewrite_log(self) -> None:
        with self.conn.transaction(), unguarded(self.conn):
            self.conn.execute(
                f"UPDATE {LEAVES} SET leaf_hash = sha256('x') WHERE leaf_index = 0".encode()
            )


@pytest.fixture
def keeper(conn: Connection, tmp_path: Path) -> Keeper:
    made = Keeper(conn, tmp_path, write_key(tmp_path / "key", SIGNER))
    made.grow(3)
    return made


def opened(file: Path) -> Checkpoint:
    return open_checkpoint(file.read_text(), VERIFIER_KEY)


def proof_of(file: Path) -> Path:
    return file.with_name(f"{file.name}.consistency")


# Written once.


def test_a_checkpoint_names_the_server(keeper: Keeper) -> None:
    checkpoint = opened(keeper.keep("first"))
    (row,) = keeper.conn.execute("SELECT system_identifier FROM pg_control_system()").fetchall()
    assert checkpoint.system_identifier == row["system_identifier"]
    assert checkpoint.timeline == 1
    assert checkpoint.tree_size == 3


def test_a_checkpoint_without_a_file_is_printed(keeper: Keeper) -> None:
    done = keeper.checkpoint("--first")
    assert (done.code, done.err) == (0, "")
    assert open_checkpoint(done.out, VERIFIER_KEY) == opened(keeper.keep("first"))


@pytest.mark.parametrize("taken", ["first", "first.consistency"])
def test_a_kept_file_is_never_overwritten(keeper: Keeper, taken: str) -> None:
    older = keeper.keep("older")
    file = keeper.tmp / taken
    file.write_text("dear")
    for options in (("--first",), ("--after", str(older))):
        done = keeper.checkpoint("--out", str(keeper.tmp / "first"), *options)
        assert done == Done(
            3,
            "",
            f"step-audit: {file} exists already, and kept checkpoints are never overwritten; "
            "nothing was written. Name another file, or a folder with --folder.\n",
        )
    assert file.read_text() == "dear"
    assert sorted(each.name for each in keeper.tmp.iterdir()) == sorted(["key", "older", taken])


# What is extended.


def test_a_checkpoint_extends_the_one_before_and_proves_it(keeper: Keeper) -> None:
    old = keeper.keep("monday")
    keeper.grow(4)
    new = keeper.keep("tuesday", "--after", str(old))
    assert (opened(old).tree_size, opened(new).tree_size) == (3, 7)
    check_proof(opened(old), opened(new), proof_of(new).read_text(), VERIFIER_KEY)
    assert not proof_of(old).exists()
    for options in ((), ("--proof", str(proof_of(new)))):
        assert keeper.consistency(old, new, *options) == Done(
            0, f"{new} extends {old}: {SIGNER.name} had 3 records, then 7\n", ""
        )


def test_a_checkpoint_extends_an_empty_log(conn: Connection, tmp_path: Path) -> None:
    keeper = Keeper(conn, tmp_path, write_key(tmp_path / "key", SIGNER))
    empty = keeper.keep("empty")
    assert opened(empty).tree_size == 0
    keeper.grow()
    new = keeper.keep("new", "--after", str(empty))
    assert keeper.consistency(empty, new, "--proof", str(proof_of(new))).code == 0


def test_a_log_that_was_rewritten_is_not_signed(keeper: Keeper) -> None:
    old = keeper.keep("monday")
    keeper.rewrite_log()
    same_size = keeper.checkpoint("--after", str(old))
    assert (same_size.code, same_size.out) == (1, "")
    assert "two logs of 3 records have different roots; nothing was signed. " in same_size.err
    keeper.grow()
    file = keeper.tmp / "tuesday"
    done = keeper.checkpoint("--after", str(old), "--out", str(file))
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith("step-audit: the log in schema ")
    assert done.err.endswith(
        f" does not extend the checkpoint {old}: the path does not begin with the older tree; "
        "nothing was signed. Either it is another log or an older copy of it, or it was changed: "
        "'step-audit verify' with that checkpoint tells.\n"
    )
    assert not file.exists()
    # Without the older one nobody can know.
    new = keeper.keep("wednesday")
    refused = keeper.consistency(old, new)
    assert (refused.code, refused.out) == (1, "")
    assert refused.err == (
        f"step-audit: it is not shown that {new} extends {old}: the path does not begin with the "
        f"older tree. Do not rely on {new}, unless the database is another one than it was signed "
        "for.\n"
    )


def test_a_log_that_was_cut_is_not_signed(keeper: Keeper) -> None:
    new = keeper.tmp / "larger"
    new.write_text(sign_checkpoint(Checkpoint(SIGNER.name, 9, bytes(32)), SIGNER_KEY))
    done = keeper.checkpoint("--after", str(new))
    assert (done.code, done.out) == (1, "")
    assert "the log has 3 records, and had 9 before; nothing was signed. " in done.err
    old = keeper.keep("small")
    assert "the log has 3 records, and had 9 before" in keeper.consistency(new, old).err


def test_a_checkpoint_of_another_key_does_not_count(keeper: Keeper) -> None:
    other = generate_key(SIGNER.name)
    foreign = keeper.tmp / "foreign"
    foreign.write_text(sign_checkpoint(opened(keeper.keep("mine")), other.to_text()))
    done = keeper.checkpoint("--after", str(foreign))
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith(f"step-audit: {foreign}: the note is not signed by {SIGNER.name}+")
    # A key that took the place of another is told of it.
    kept = keeper.keep("renewed", "--after", str(foreign), "--public-key", other.verifier.to_text())
    check_proof(opened(kept), opened(kept), proof_of(kept).read_text(), VERIFIER_KEY)


@pytest.mark.parametrize("content", [b"\xff", b"dear", b"", None])
def test_a_file_that_is_no_checkpoint_is_named(keeper: Keeper, content: bytes | None) -> None:
    file = keeper.tmp / "odd.checkpoint"
    if content is None:
        file.mkdir()
    else:
        file.write_bytes(content)
    for options in (("--after", str(file)), ("--folder", str(keeper.tmp))):
        done = keeper.checkpoint(*options)
        # A folder that is named as a file is a wrong option.
        code = 2 if content is None and "--after" in options else 3
        assert (done.code, done.out) == (code, "")
        assert done.err.startswith(f"step-audit: {file}")
    assert done.err.endswith(
        "nothing was signed. Take it out of the folder, or put the whole checkpoint in its place.\n"
    )


# Trust on first use.


@pytest.mark.parametrize("out", [(), ("--out", "new")])
def test_without_the_checkpoint_before_nothing_is_signed(
    keeper: Keeper, out: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(keeper.tmp)
    assert keeper.checkpoint(*out) == Done(
        2,
        "",
        "step-audit: without the checkpoint before nobody can know whether the log was written "
        "anew since; nothing was signed. Name it: --after FILE, or --folder DIR with the newest "
        "there. Only where the log was never signed before: --first.\n",
    )
    assert not Path("new").exists()


@pytest.mark.parametrize("is_there", [True, False])
def test_a_folder_without_a_checkpoint_is_begun_only_where_that_is_said(
    keeper: Keeper, is_there: bool
) -> None:
    folder = Path(keeper.folder)
    if is_there:
        folder.mkdir(parents=True)
    assert keeper.checkpoint("--folder", keeper.folder) == Done(
        3,
        "",
        f"step-audit: {folder} {'has no checkpoint' if is_there else 'is no folder'}, so nothing "
        "shows that the log was not written anew since it was last signed; nothing was signed. "
        "Name the folder that has the older checkpoints. Only where the log was never signed "
        "before: --first, which begins such a folder.\n",
    )
    assert folder.exists() == is_there
    assert keeper.checkpoint("--folder", keeper.folder, "--first").code == 0
    assert len(list(folder.iterdir())) == 1


def test_what_is_said_to_be_the_first_where_one_is_there_is_refused(keeper: Keeper) -> None:
    file = keeper.keep_in_folder()
    keeper.grow()
    done = keeper.checkpoint("--folder", keeper.folder, "--first")
    assert (done.code, done.out) == (3, "")
    assert f"{keeper.folder} has a checkpoint, {file.name}, and --first says" in done.err
    both = keeper.checkpoint("--after", str(file), "--first")
    assert (both.code, both.out) == (2, "")
    assert "--first says that there is no checkpoint to extend, and --after names one" in both.err
    assert list(Path(keeper.folder).iterdir()) == [file]


def test_a_proof_that_cannot_be_written_leaves_no_checkpoint(keeper: Keeper) -> None:
    file = keeper.keep_in_folder()
    keeper.grow()
    checkpoint = keeper.tmp / "new"
    taken = proof_of(checkpoint)
    taken.write_text("dear")
    with pytest.raises(RefusedError, match="exists already"):
        write_with_proof(checkpoint, file.read_text(), "proof")
    assert not checkpoint.exists()
    taken.unlink()
    checkpoint.write_text("dear")
    with pytest.raises(RefusedError, match="exists already"):
        write_with_proof(checkpoint, file.read_text(), "proof")
    assert (checkpoint.read_text(), taken.exists()) == ("dear", False)


# A folder.


def test_each_checkpoint_of_a_folder_extends_the_one_before(keeper: Keeper) -> None:
    files = []
    for _ in range(3):
        files.append(keeper.keep_in_folder())
        keeper.grow(2)
    assert sorted(files, reverse=True) == files[::-1]
    assert [opened(file).tree_size for file in files] == [3, 5, 7]
    assert not proof_of(files[0]).exists()
    for old, new in pairwise(files):
        check_proof(opened(old), opened(new), proof_of(new).read_text(), VERIFIER_KEY)
        assert re.fullmatch(r"0{18}\d-\d{8}T\d{6}Z\.checkpoint", new.name)


def test_a_log_that_has_not_grown_leaves_the_folder_as_it_is(keeper: Keeper) -> None:
    file = keeper.keep_in_folder()
    assert keeper.checkpoint("--folder", keeper.folder) == Done(
        0, "", f"the log is as {file} has it; nothing was written\n"
    )
    assert list(Path(keeper.folder).iterdir()) == [file]


def test_the_newest_of_a_folder_is_the_largest_whatever_it_is_called(keeper: Keeper) -> None:
    small = keeper.keep_in_folder()
    keeper.grow()
    large = keeper.keep_in_folder()
    large.rename(large.with_name("0.checkpoint"))
    small.rename(small.with_name("z.checkpoint"))
    keeper.grow()
    newest = keeper.keep_in_folder()
    assert ConsistencyProof.from_text(proof_of(newest).read_text()).old_size == 4
    keeper.rewrite_log()
    keeper.grow()
    refused = keeper.checkpoint("--folder", keeper.folder)
    assert (refused.code, refused.out) == (1, "")
    assert f"does not extend the checkpoint {newest}: " in refused.err


def test_a_larger_checkpoint_that_somebody_put_into_the_folder_is_named(keeper: Keeper) -> None:
    keeper.keep_in_folder()
    forged = Path(keeper.folder, "forged.checkpoint")
    other = generate_key(SIGNER.name)
    forged.write_text(sign_checkpoint(Checkpoint(SIGNER.name, 99, bytes(32)), other.to_text()))
    done = keeper.checkpoint("--folder", keeper.folder)
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith(f"step-audit: {forged}: the note is not signed by ")


def test_names_sort_by_size_whatever_the_size() -> None:
    sizes = [0, 9, 10, 99, 2**31, 2**63 - 1]
    names = [name_checkpoint(Checkpoint(SIGNER.name, size, bytes(32))) for size in sizes]
    assert sorted(names) == names


@pytest.mark.parametrize("others", [("--out", "x"), ("--after", "x")])
def test_a_folder_names_the_files_itself(keeper: Keeper, others: tuple[str, ...]) -> None:
    done = keeper.checkpoint("--folder", keeper.folder, *others)
    assert done == Done(
        2,
        "",
        "step-audit: --folder names the file and the checkpoint before by itself; nothing was "
        "signed. Give either --folder, or --out and --after.\n",
    )


# The private key.


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o622])
def test_a_key_that_others_can_read_is_refused(keeper: Keeper, mode: int) -> None:
    Path(keeper.key).chmod(mode)
    assert keeper.checkpoint("--first") == Done(
        3,
        "",
        f"step-audit: {keeper.key} is a private key that others than its owner can read (its mode "
        f"is {mode:04o}): whoever has it can sign for the log; nothing was signed. "
        f"Take the rights from them: chmod 600 {keeper.key}\n",
    )


@pytest.mark.parametrize("mode", [0o600, 0o400])
def test_a_key_that_its_owner_alone_can_read_signs(keeper: Keeper, mode: int) -> None:
    Path(keeper.key).chmod(mode)
    assert keeper.checkpoint("--first").code == 0


def test_a_key_is_read_from_standard_input(keeper: Keeper) -> None:
    done = step_audit(
        "checkpoint", "--first", "--key", "-", to=keeper.conn, stdin=f"{SIGNER_KEY}\n"
    )
    assert open_checkpoint(done.out, VERIFIER_KEY) == opened(keeper.keep("first"))


# consistency.


def test_a_proof_of_others_does_not_pass(keeper: Keeper) -> None:
    files = [keeper.keep("0")]
    for name in ("1", "2"):
        keeper.grow()
        files.append(keeper.keep(name, "--after", str(files[-1])))
    done = keeper.consistency(files[0], files[2], "--proof", str(proof_of(files[2])))
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith("step-audit: the proof is of other checkpoints, of 4 and 5 records")
    broken = keeper.tmp / "broken"
    broken.write_text(proof_of(files[2]).read_text()[:20])
    unread = keeper.consistency(files[1], files[2], "--proof", str(broken))
    assert (unread.code, unread.out) == (3, "")
    assert unread.err.startswith("step-audit: this is no consistency proof: ")


def test_two_checkpoints_of_one_size_need_no_database(keeper: Keeper) -> None:
    one, other = keeper.keep("one"), keeper.keep("other")
    key = ("--public-key", VERIFIER_KEY, "--dsn", "host=/nowhere")
    assert succeed("consistency", str(one), str(other), *key) == (
        f"{other} extends {one}: {SIGNER.name} had 3 records, then 3\n"
    )
    keeper.grow()
    newer = keeper.keep("newer")
    done = step_audit("consistency", str(one), str(newer), *key)
    assert (done.code, done.out) == (3, "")
    assert done.err.startswith("step-audit: cannot connect to the database: ")
