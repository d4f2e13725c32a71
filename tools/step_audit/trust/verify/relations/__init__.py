"""Our tables and what hangs on them, and the trigger on the engine's, as the catalog has them."""

from step_audit.trust.verify.relations.columns import examine_columns
from step_audit.trust.verify.relations.indexes import examine_indexes
from step_audit.trust.verify.relations.keys import examine_keys
from step_audit.trust.verify.relations.tables import examine_tables
from step_audit.trust.verify.relations.triggers import examine_triggers
from step_audit.trust.verify.relations.views import examine_views

__all__ = [
    "examine_columns",
    "examine_indexes",
    "examine_keys",
    "examine_tables",
    "examine_triggers",
    "examine_views",
]
