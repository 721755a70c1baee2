"""One server process and its clients: gunicorn's settings, the worker, connections, TLS."""
