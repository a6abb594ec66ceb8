"""The one SQLAlchemy MetaData, which migrations are compared with.

Tables are described beside their slice and used by Alembic alone: queries are SQL, on asyncpg.
"""

from sqlalchemy import MetaData

# Names that migrations and error handling can rely on.
metadata = MetaData(
    naming_convention={
        "pk": "%(table_name)s_pkey",
        "fk": "%(table_name)s_%(column_0_name)s_fkey",
        "uq": "%(table_name)s_%(column_0_name)s_key",
        "ck": "%(table_name)s_%(constraint_name)s_check",
    }
)
