"""The API's own description, OpenAPI 3.1, made of what the server holds requests to.

`columns` turns a manifest's inputs into schemas of values, `models` those into schemas of bodies,
`faults` the classes of `serving.errors` into error answers; `operations` is the table of all
routes, `document` puts them together, and `page` shows them. https://spec.openapis.org/oas/v3.1.1
"""

from serving.http.openapi.document import build_document
from serving.http.openapi.examples import build_example_record

__all__ = ["build_document", "build_example_record"]
