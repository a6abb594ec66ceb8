"""Mutation testing: plants small faults in the code, one at a time, and sees whether a test fails.

A fault that no test notices is a promise that nothing keeps. `python -m mutants --help`; why this
is a tool of our own is in docs/decisions/0032-mutants.md.
"""
