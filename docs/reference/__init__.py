"""The generator of the reference pages: docs/cli.md, docs/cli/ and docs/api.md."""
