"""A check for Schemathesis: a request that the API's description allows must be answered.

The exceptions are requests that break a rule which a JSON schema cannot express.
"""

import re

import schemathesis

# No schema can require columns of one length, or forbid numbers whose computation overflows.
INEXPRESSIBLE = re.compile(r"overflows float32|expected columns of one length")
# The description does not relate a tensor's shape to its data, and cannot describe binary bodies.
UNDESCRIBED = re.compile(r"/infer$")
# The server has no shared memory, so it refuses every request for it.
ALWAYS_REFUSED = re.compile(r"/region/")


@schemathesis.check
def allowed_request_is_answered(ctx, response, case):
    mode = case.meta.generation.mode if case.meta else None
    if mode is None or not mode.is_positive:
        return
    if UNDESCRIBED.search(case.path) or ALWAYS_REFUSED.search(case.path):
        return
    if case.body is not schemathesis.core.NOT_SET and case.media_type != "application/json":
        return
    if response.status_code in (400, 413, 415, 422):
        assert INEXPRESSIBLE.search(response.text), response.text
