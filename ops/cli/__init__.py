"""The `holdfast` command: what an operator types, and what people and scripts get back."""
