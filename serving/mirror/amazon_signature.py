"""Signs requests to object storage that speaks the protocol of Amazon S3, version 4."""

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import quote

NO_CONTENT = hashlib.sha256(b"").hexdigest()
_ALGORITHM = "AWS4-HMAC-SHA256"


@dataclass(frozen=True, slots=True)
class Credentials:
    """Who asks.

    Attributes:
        key_id: Names the secret.
        secret: Never sent.
        token: Of credentials that end; empty for none.
    """

    key_id: str
    secret: str = field(repr=False)
    token: str = field(default="", repr=False)


def signed_headers(
    host: str, path: str, headers: Mapping[str, str], who: Credentials, region: str, moment: str
) -> dict[str, str]:
    """Returns the headers of a GET without content, signed.

    Args:
        host: As it is asked, with the port where it is not the usual one.
        path: Of the object, not encoded, beginning with a slash.
        headers: Others that are sent.
        who: Asks.
        region: Of the storage.
        moment: Now, as `20130524T000000Z`, UTC.

    Source:
        Amazon S3 API Reference, "Authenticating Requests (AWS Signature Version 4)"; its example of GET
        Object is the test.
    """
    sent = {**headers, "x-amz-content-sha256": NO_CONTENT, "x-amz-date": moment}
    if who.token:
        sent["x-amz-security-token"] = who.token
    named = {"host": host} | {name.lower(): value.strip() for name, value in sent.items()}
    names = sorted(named)
    lines = [f"{name}:{named[name]}\n" for name in names]
    signed = ";".join(names)
    request = f"GET\n{quote(path, safe='/-_.~')}\n\n{''.join(lines)}\n{signed}\n{NO_CONTENT}"
    day = moment[:8]
    scope = f"{day}/{region}/s3/aws4_request"
    text = f"{_ALGORITHM}\n{moment}\n{scope}\n{hashlib.sha256(request.encode()).hexdigest()}"
    key = f"AWS4{who.secret}".encode()
    for part in (day, region, "s3", "aws4_request"):
        key = hmac.digest(key, part.encode(), "sha256")
    signature = hmac.new(key, text.encode(), hashlib.sha256).hexdigest()
    sent["Authorization"] = (
        f"{_ALGORITHM} Credential={who.key_id}/{scope}, SignedHeaders={signed}, Signature={signature}"
    )
    return sent
