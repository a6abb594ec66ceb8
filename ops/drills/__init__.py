"""Break the real stack on purpose, under load, and judge by the history what became of it."""
