"""More than one process per instance: a supervisor, its workers, and what they know of each other.

With WORKERS=1 nothing of this is used. docs/decisions/0048-workers.md says why it is so.
"""
