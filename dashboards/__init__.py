"""Grafana's dashboards of the stack: tables of panels, from which `make dashboards` makes the JSON.

The files in deploy/monitoring/grafana/dashboards are what this code makes; change them here.
"""
