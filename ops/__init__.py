"""What an operator and a developer run: the real stack, and the embedded one behind `make dev`.

Imports nothing of the service, which is started as its users would start it.
"""
