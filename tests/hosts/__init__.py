"""Engines of all kinds, and all that is done with them."""

import pytest

pytest.register_assert_rewrite("tests.hosts.operations", "tests.support.command")
