"""The ways back from the backups, by name: what `holdfast drill list` says without any package."""

from __future__ import annotations

WAYS = {
    "restore-latest": "All there is, in place of what the stack has.",
    "restore-to-time": "A bad UPDATE, then DROP TABLE: the stack as it was a moment before.",
    "backup-during-failover": "The primary is killed while it is backed up: archiving goes on.",
    "repository-lost": "The repository is emptied: it begins anew, and nobody waits for it.",
    "archive-behind": "The repository is away until WAL is dropped: said, and backed up anew.",
    "machine-lost": "Only the repository and the secrets are left: a new stack is made of these.",
}
"""In the order in which `holdfast drill recoveries` goes them; the last leaves least."""
