"""All rows of the matrix."""

from tests.trust import attacks_of_owner, attacks_of_the_log, attacks_of_views, ordinary
from tests.trust.attacks import ATTACKS, Attack

__all__ = [
    "ATTACKS",
    "Attack",
    "attacks_of_owner",
    "attacks_of_the_log",
    "attacks_of_views",
    "ordinary",
]
