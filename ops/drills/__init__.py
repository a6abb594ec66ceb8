"""Judges what a load lived through while something of the stack was broken."""
