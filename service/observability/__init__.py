"""What the service tells its operators: logs, metrics, and a record of each request."""
