"""Fixtures by topic; hypothesis draws the same examples on every run of CI."""

import os

import pytest
from hypothesis import HealthCheck, settings

# Their asserts tell what they compared, as those of tests do.
pytest.register_assert_rewrite("tests.support", "tests.hosts.operations", "tests.trust.rows")

pytest_plugins = ["tests.fix_database", "tests.fix_extension", "tests.fix_pgbouncer"]

settings.register_profile(
    "default", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True
)
settings.register_profile("ci", settings.get_profile("default"), derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "default")
