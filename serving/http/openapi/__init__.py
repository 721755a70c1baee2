"""The OpenAPI 3.1 document of the server, and the page that shows it.

`operation` describes a route, `column_schemas` and `model_schemas` derive schemas from the
manifests of the served models, `error_responses` derives the error responses from the classes of
`serving.errors`, and `document` assembles the document.
https://spec.openapis.org/oas/v3.1.1
"""

from serving.http.openapi.document import OpenApiDocument
from serving.http.openapi.examples import build_example_record

__all__ = ["OpenApiDocument", "build_example_record"]
