"""Load test of a running server: an HTTP client that measures latency, throughput and errors.

The package is independent of the server's code. It learns the models, columns and types from
`GET /models`, and the server's own timings from `GET /metrics`.

The client is built on uvloop (libuv) and httptools (llhttp, the parser of Node.js). A request costs
it about 25 µs of processor time, a fifth to a tenth of what locust, aiohttp or geventhttpclient
need. On a shared machine, the server under test cannot use that time.
"""
