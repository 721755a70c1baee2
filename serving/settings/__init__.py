"""The options of the server, and where their values come from.

`options` declares every option once. Values come from arguments, environment variables
(`environment`), the number of usable cores (`cores`) and the variables of cloud platforms
(`cloud_platforms`). Every package may import this one; it imports none of the others.
"""
