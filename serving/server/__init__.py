"""One server process and its clients: gunicorn's configuration, worker, connections and TLS.

`gunicorn_conf` configures gunicorn and prepares what the workers share. `worker` serves in one
process: `acceptor` accepts connections, and each `connection` reads requests (`request_head`,
`request_body`), calls the application and sends its responses. Of the packages of `serving`, only
`cli` may import this one.
"""
