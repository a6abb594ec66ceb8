"""Backups: the repository, points in time, a copy to look at, the stack as it was."""
