"""Every option of the server, and the environment variables and cloud platforms that set them."""
