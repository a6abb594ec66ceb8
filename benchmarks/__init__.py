"""What Holdfast costs: measured beside controls of its own, in one run, on the same cores."""
