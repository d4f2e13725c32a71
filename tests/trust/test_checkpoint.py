"""Checkpoints as c2sp.org/tlog-checkpoint specifies them."""

from __future__ import annotations

import base64
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from step_audit.errors import NotProvedError, TrustError
from step_audit.trust.checkpoint import Checkpoint, open_checkpoint, sign_checkpoint
from step_audit.trust.note import generate_key, sign_note
from tests.support.sealed import SIGNER, SIGNER_KEY, VERIFIER_KEY

PAGE = Path(__file__).parents[2] / "docs" / "sealing.md"
ROOT = base64.b64encode(bytes(range(32))).decode()

# The text of the example in c2sp.org/tlog-checkpoint.
SOFA = "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n"


def test_example_of_the_specification() -> None:
    checkpoint = Checkpoint.from_text(SOFA)
    assert (checkpoint.origin, checkpoint.tree_size) == ("example.com/behind-the-sofa", 20852163)
    assert checkpoint.to_text() == SOFA


servers = st.none() | st.tuples(st.integers(1, 2**64 - 1), st.integers(1, 2**32 - 1))


@given(st.integers(0, 2**63 - 1), st.binary(min_size=32, max_size=32), servers)
def test_signed_checkpoint_is_read_back(
    size: int, root: bytes, server: tuple[int, int] | None
) -> None:
    checkpoint = Checkpoint(SIGNER.name, size, root, *(server or (None, None)))
    assert open_checkpoint(sign_checkpoint(checkpoint, SIGNER_KEY), VERIFIER_KEY) == checkpoint


def test_further_lines_are_left_aside() -> None:
    note = sign_note(f"example.com/audit\n3\n{ROOT}\nfurther\nlines\n", SIGNER_KEY)
    assert open_checkpoint(note, VERIFIER_KEY) == Checkpoint(SIGNER.name, 3, bytes(range(32)))


SERVER = "step-audit system 7574398265738289741 timeline 3"


def test_server_stands_in_a_line_after_the_third() -> None:
    checkpoint = Checkpoint(SIGNER.name, 3, bytes(range(32)), 7574398265738289741, 3)
    assert checkpoint.to_text() == f"example.com/audit\n3\n{ROOT}\n{SERVER}\n"
    among_others = f"example.com/audit\n3\n{ROOT}\nstep-audits\n{SERVER}\nstep-audit else\n"
    assert Checkpoint.from_text(among_others) == checkpoint


def test_server_line_of_the_documentation_is_read() -> None:
    (line,) = re.findall(r"^step-audit system .*$", PAGE.read_text(), re.MULTILINE)
    checkpoint = Checkpoint.from_text(f"example.com/audit\n3\n{ROOT}\n{line}\n")
    assert (checkpoint.system_identifier, checkpoint.timeline) == (7574398265738289741, 1)


@pytest.mark.parametrize(("system", "timeline"), [(None, 3), (7574398265738289741, None)])
def test_half_of_a_server_is_not_written(system: int | None, timeline: int | None) -> None:
    text = Checkpoint(SIGNER.name, 3, bytes(range(32)), system, timeline).to_text()
    assert text == f"example.com/audit\n3\n{ROOT}\n"


_NO_SERVER = "it does not have one line 'step-audit system <number> timeline <number>'"
_TOO_LARGE = "its system identifier or timeline is larger than any"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("example.com/audit\n3\n", "it is not made of three or more lines"),
        (f"example.com/audit\n3\n{ROOT}", "it is not made of three or more lines"),
        (f"example.com/audit\n3\n{ROOT}\n\n", "it is not made of three or more lines"),
        (f"\n3\n{ROOT}\n", "it is not made of three or more lines"),
        (f"example.com/audit\n\n{ROOT}\n", "it is not made of three or more lines"),
        *(
            (f"example.com/audit\n{size}\n{ROOT}\n", "its second line is not the size of a log")
            for size in [
                "03",
                "-3",
                "+3",
                " 3",
                "3.0",
                "0x3",
                "٣",
                "9" * 19,
                str(2**63),
                "9" * 9999,
            ]
        ),
        *(
            (f"example.com/audit\n3\n{ROOT}\n{line}\n", reason)
            for line, reason in [
                (f"{SERVER}\n{SERVER}", _NO_SERVER),
                (f"{SERVER} ", _NO_SERVER),
                (f"{SERVER}x", _NO_SERVER),
                ("step-audit system ", _NO_SERVER),
                ("step-audit system 0 timeline 1", _NO_SERVER),
                ("step-audit system 1 timeline 0", _NO_SERVER),
                ("step-audit system -1 timeline 1", _NO_SERVER),
                ("step-audit system 1 timeline ٣", _NO_SERVER),
                ("step-audit system 1  timeline 1", _NO_SERVER),
                ("step-audit system 1 timeline " + "9" * 9999, _NO_SERVER),
                (f"step-audit system {2**64} timeline 1", _TOO_LARGE),
                (f"step-audit system 1 timeline {2**32}", _TOO_LARGE),
            ]
        ),
        (f"example.com/audit\n3\n{ROOT[4:]}\n", "its third line is not a hash of 32 bytes"),
        (f"example.com/audit\n3\n{ROOT[:-1]}\n", "it has base64 that cannot be read"),
        (f"example.com/audit\n3\n {ROOT}\n", "it has base64 that cannot be read"),
        (f"example.com/audit\n3\n{ROOT[:-2]}9=\n", "it has base64 that cannot be read"),
    ],
)
def test_signed_text_that_is_no_checkpoint(text: str, reason: str) -> None:
    with pytest.raises(TrustError) as refusal:
        Checkpoint.from_text(text)
    assert str(refusal.value) == (
        f"this is no checkpoint: {reason}; nothing was checked. Get it anew, as a whole."
    )
    assert not isinstance(refusal.value, NotProvedError)


def test_key_signs_for_its_own_log_alone() -> None:
    with pytest.raises(TrustError) as refusal:
        sign_checkpoint(Checkpoint("example.com/other", 3, bytes(32)), SIGNER_KEY)
    assert str(refusal.value) == (
        "the key of 'example.com/audit' does not sign for 'example.com/other'; nothing was signed. "
        "Sign with the log's own key."
    )


def test_checkpoint_of_another_log_is_not_proved() -> None:
    note = sign_note(f"example.com/other\n3\n{ROOT}\n", SIGNER_KEY)
    with pytest.raises(NotProvedError) as refusal:
        open_checkpoint(note, VERIFIER_KEY)
    assert str(refusal.value) == (
        "the checkpoint is of the log 'example.com/other', but signed by 'example.com/audit'. "
        "Do not rely on it."
    )


def test_checkpoint_by_another_key_of_that_name_is_not_proved() -> None:
    note = sign_checkpoint(Checkpoint(SIGNER.name, 3, bytes(32)), SIGNER_KEY)
    other = generate_key(SIGNER.name).verifier.to_text()
    with pytest.raises(NotProvedError, match=r"not signed by example\.com/audit\+"):
        open_checkpoint(note, other)
