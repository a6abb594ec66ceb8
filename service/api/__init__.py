"""HTTP's side of the service that no slice owns: problems, health, documentation, limits."""
