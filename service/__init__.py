"""Holdfast's service: an HTTP interface to PostgreSQL that holds requests through a failover."""
