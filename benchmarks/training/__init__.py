"""What the trainer achieves: speed, compression, real tables, memory, and parity of answers."""
