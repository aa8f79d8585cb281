"""Sends contacts to a host that the config allows, signed, and never to where an answer points."""

import hashlib
import hmac
import json
import urllib.error
import urllib.request
from collections.abc import Sequence
from http.client import HTTPException, HTTPMessage
from typing import IO, NoReturn

from marquee.errors import ConfigError
from marquee.marketing.audiences.follow_up import Entry

TIMEOUT_SECONDS = 10.0
SIGNATURE = "Marquee-Signature"


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """Follows no answer elsewhere: only the declared host is allowed."""

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,  # noqa: ARG002 - urllib passes it
        headers: HTTPMessage,
        newurl: str,
    ) -> NoReturn:
        """Refuses to go where the answer points."""
        raise urllib.error.HTTPError(req.full_url, code, f"leads to {newurl}", headers, fp)


def send_contacts(url: str, key: bytes, contacts: Sequence[Entry], now: float) -> None:
    """Sends contacts as one signed request.

    The signature is `t=<seconds>,v1=<HMAC-SHA256 of "<seconds>.<body>">`: whoever receives it can see that
    the body is ours and recent.

    Args:
        url: Where to; its host has been allowed.
        key: That it is signed with.
        contacts: To send.
        now: The present, seconds since 1970.

    Raises:
        ConfigError: If the host does not take them: none counts as sent.
    """
    lines = [
        {"delivery_id": one.delivery_id, "audience": one.audience, "user_id": one.user_id} for one in contacts
    ]
    body = json.dumps({"contacts": lines}, ensure_ascii=False).encode()
    request = urllib.request.Request(url, data=body, method="POST")
    request.add_header("Content-Type", "application/json")
    request.add_header(SIGNATURE, sign(key, body, int(now)))
    opener = urllib.request.build_opener(_NoRedirects)
    try:
        with opener.open(request, timeout=TIMEOUT_SECONDS):
            return
    except (OSError, HTTPException) as error:  # the latter for an answer that is no HTTP
        raise ConfigError(
            f"{url} has not taken {len(contacts)} contacts: {error}; none counts as sent, run it again"
        ) from error


def sign(key: bytes, body: bytes, seconds: int) -> str:
    """Returns the signature of a body.

    Args:
        key: Shared with whoever receives it.
        body: As sent.
        seconds: Moment, since 1970.
    """
    code = hmac.new(key, f"{seconds}.".encode() + body, hashlib.sha256).hexdigest()
    return f"t={seconds},v1={code}"
