# Signs what schemathesis sends to /api/v1/reports, so that the text behind the signature is reached.
import hashlib
import hmac
import json

import schemathesis


@schemathesis.hook
def before_call(context, case, kwargs):
    if case.path == "/api/v1/reports" and case.method.upper() == "POST" and isinstance(case.body, (dict, list, str)):
        body = json.dumps(case.body).encode()
        case.headers["X-Hub-Signature-256"] = "sha256=" + hmac.new(b"a key that both hosts have", body, hashlib.sha256).hexdigest()
        kwargs["data"] = body
