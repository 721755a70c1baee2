"""The handlers of all routes, one module for each protocol or topic.

A handler finds the model and calls the predictor. None of them decodes tensors or runs a model by
itself. Each takes the components of the server, the WSGI environ of the request and, as keyword
arguments, the values of the path's placeholders. `http.route_table` says which paths lead to it.
"""
