"""An open-loop load on the service over HTTP, and the history of what became of each request."""
