"""The audit trail for Postgres-backed workflow engines: one row per worker result.

The names of the package are listed in ``__init__.pyi``; each is imported when it is first used, so
that the command starts without psycopg and only the clients need the extra ``client``.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
