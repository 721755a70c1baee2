"""The HTTP application: Flask, the fast path in front of it, and everything a route needs.

It holds `create_app`, the middleware, API keys, body limits, error responses, the handlers of each
protocol, and the OpenAPI document. It may import all packages of `serving` except `server`,
`loadtest` and `cli`.
"""
