"""The OpenAPI 3.1 document of the server, and the page that shows it.

It is built from what the server checks requests against: `column_schemas` and `model_schemas` use
the manifests of the served models, and `error_responses` the classes of `serving.errors`.
`operations` is the table of all routes, and `document` puts everything together.
https://spec.openapis.org/oas/v3.1.1
"""

from serving.http.openapi.document import build_document
from serving.http.openapi.examples import build_example_record

__all__ = ["build_document", "build_example_record"]
