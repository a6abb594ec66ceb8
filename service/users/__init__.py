"""Users: one vertical slice, router -> service -> queries."""
