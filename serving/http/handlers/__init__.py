"""The Flask routes, one module for each protocol or topic.

A handler finds the model and calls the predictor. None of them decodes tensors or runs a model by
itself.
"""
