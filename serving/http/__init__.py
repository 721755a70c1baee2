"""HTTP: the application, the fast path before it, authorisation, errors, handlers, OpenAPI."""
