"""What the server guarantees besides speed, measured against real server processes."""
