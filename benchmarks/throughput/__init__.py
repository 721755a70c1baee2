"""The serving benchmark: this server and its peers, in turns, on the same graph and cores."""
