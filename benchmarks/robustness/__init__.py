"""What the server promises besides its speed, held to what it does."""
