"""The codec: decodes request bodies to arrays, and encodes arrays as answers.

There is one module for each format. All of them pass a column's values through `validation`, whose
rules are those of `bundle.column_schema`. The codec depends neither on HTTP nor on the
loaded models: it imports only `bundle`, `errors` and `event_loop`.
"""
