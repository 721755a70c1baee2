"""The OpenAPI 3.1 document of the server, and the page that shows it.

`column_schemas` and `model_schemas` derive the schemas from the manifests of the served models,
`error_responses` derives the error responses from the classes of `serving.errors`, `operations` is
the table of all routes, and `document` assembles the document.
https://spec.openapis.org/oas/v3.1.1
"""

from serving.http.openapi.document import build_document
from serving.http.openapi.examples import build_example_record

__all__ = ["build_document", "build_example_record"]
