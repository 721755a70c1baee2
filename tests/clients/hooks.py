"""A check for Schemathesis: what a schema allows is answered, or refused for what it cannot say."""

import re

import schemathesis

# That columns are of one length, and that numbers which float32 holds can overflow on their way.
UNSAYABLE = re.compile(r"overflows float32|expected columns of one length")
# Of the bodies that the schema says nothing of: a tensor's shape is that of its data; bytes.
UNSAID = re.compile(r"/infer$")
# What is refused whatever is sent: there is no shared memory.
REFUSED = re.compile(r"/region/")


@schemathesis.check
def what_is_allowed_is_answered(ctx, response, case):
    mode = case.meta.generation.mode if case.meta else None
    if mode is None or not mode.is_positive:
        return
    if UNSAID.search(case.path) or REFUSED.search(case.path):
        return
    if case.body is not schemathesis.core.NOT_SET and case.media_type != "application/json":
        return
    if response.status_code in (400, 413, 415, 422):
        assert UNSAYABLE.search(response.text), response.text
