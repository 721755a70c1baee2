"""What the trainer does: speed, compression, real tables, memory, parity with the server."""
