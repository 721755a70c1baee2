"""Load on a server, and what its clients feel: an independent client, which knows only HTTP.

It uses nothing of the server's own code but the schema that the server tells. The engine is uvloop
(libuv) and httptools (llhttp, the parser of Node.js): a request costs it some 25 µs of processor
time, a fifth to a tenth of what locust, aiohttp or geventhttpclient take, and on one machine that
time is taken from the server under test.
"""
