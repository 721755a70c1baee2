"""The codec: request bodies to arrays, and arrays to answers.

There is one module for each format. All of them pass a column's values through `validation`, whose
rules are in `column_validators` and `input_schema`. The codec knows neither HTTP nor which models
are loaded: it imports only `bundle`, `errors` and `event_loop`.
"""
