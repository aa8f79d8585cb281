"""Reads the folder of a channel by its address: on this machine, over HTTP, or in object storage."""

import http.client
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import IO
from urllib.parse import quote, unquote, urlsplit

from marquee.bundle.mirroring import Origin
from marquee.errors import BundleError, BundleNotFoundError, ConfigError
from marquee.store.files import CHUNK_BYTES
from serving.mirror.amazon_signature import Credentials, signed_headers

TIMEOUT_S = 30.0
"""How long a server may be silent."""

Sign = Callable[[str, str, Mapping[str, str]], dict[str, str]]


def open_origin(address: str, variables: Mapping[str, str], moment: Callable[[], str]) -> Origin:
    """Returns the reader of a channel by its address.

    Args:
        address: A path, or `file://`, `http://`, `https://`, or `s3://bucket/prefix`.
        variables: The environment: `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_SESSION_TOKEN`,
            `AWS_REGION`, and `AWS_ENDPOINT_URL` for storage that is not Amazon's.
        moment: Returns the time now, as `20130524T000000Z`, UTC.

    Raises:
        ConfigError: If it is none of these, or credentials are lacking.
    """
    parts = urlsplit(address)
    if parts.scheme in ("", "file"):
        return FolderOrigin(Path(unquote(parts.path)))
    if parts.scheme in ("http", "https") and parts.netloc and not (parts.query or parts.username):
        return WebOrigin(parts.scheme, parts.netloc, unquote(parts.path).rstrip("/"))
    if parts.scheme == "s3" and parts.netloc:
        return _storage(parts.netloc, unquote(parts.path).rstrip("/"), variables, moment)
    raise ConfigError(
        "from must be a path, file://…, http(s)://host/path without a query, or s3://bucket/prefix, got "
        f"{address!r}"
    )


def _storage(bucket: str, prefix: str, variables: Mapping[str, str], moment: Callable[[], str]) -> Origin:
    """Returns the reader of a folder of object storage."""
    missing = [name for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY") if not variables.get(name)]
    if missing:
        raise ConfigError(f"s3://{bucket} needs the variables {' and '.join(missing)}; set them")
    who = Credentials(
        variables["AWS_ACCESS_KEY_ID"],
        variables["AWS_SECRET_ACCESS_KEY"],
        variables.get("AWS_SESSION_TOKEN", ""),
    )
    region = variables.get("AWS_REGION") or "us-east-1"
    endpoint = urlsplit(variables.get("AWS_ENDPOINT_URL") or f"https://s3.{region}.amazonaws.com")
    if endpoint.scheme not in ("http", "https") or not endpoint.netloc:
        raise ConfigError(f"AWS_ENDPOINT_URL must begin with http:// or https://, got {endpoint.geturl()!r}")

    def sign(host: str, path: str, headers: Mapping[str, str]) -> dict[str, str]:
        return signed_headers(host, path, headers, who, region, moment())

    # The bucket in the path and not in the name of the host: every storage of this protocol knows that form.
    path = f"{endpoint.path.rstrip('/')}/{bucket}{prefix}"
    return WebOrigin(endpoint.scheme, endpoint.netloc, path, sign)


@dataclass(frozen=True, slots=True)
class FolderOrigin:
    """A folder of this machine, of a volume for instance."""

    folder: Path

    def read(self, name: str, start: int) -> Iterator[bytes]:
        """See `Origin.read`."""
        try:
            with (self.folder / name).open("rb") as file:
                file.seek(start)
                while chunk := file.read(CHUNK_BYTES):
                    yield chunk
        except FileNotFoundError as error:
            raise BundleNotFoundError(f"there is no {self.folder / name}; publish a bundle there") from error
        except OSError as error:
            raise BundleError(f"{self.folder / name} cannot be read: {error}; try again") from error


@dataclass(frozen=True, slots=True)
class WebOrigin:
    """A folder of a web server, or of object storage.

    Attributes:
        scheme: `http` or `https`.
        host: With the port where it is not the usual one.
        path: Of the folder, not encoded.
        sign: Returns headers with the signature of a request for a host and path; None for none.
    """

    scheme: str
    host: str
    path: str
    sign: Sign | None = field(default=None, repr=False)

    def read(self, name: str, start: int) -> Iterator[bytes]:
        """See `Origin.read`."""
        kind = http.client.HTTPSConnection if self.scheme == "https" else http.client.HTTPConnection
        connection = kind(self.host, timeout=TIMEOUT_S)
        path = f"{self.path}/{name}"
        headers = {"Range": f"bytes={start}-"} if start else {}
        try:
            connection.request(
                "GET",
                quote(path, safe="/-_.~"),
                headers=headers if self.sign is None else self.sign(self.host, path, headers),
            )
            answer = connection.getresponse()
            self._require_content(answer.status, answer.reason, path)
            # A server that does not know ranges sends the whole file.
            if start and answer.status == HTTPStatus.OK:
                _skip(answer, start)
            while chunk := answer.read(CHUNK_BYTES):
                yield chunk
            # A connection that closes early looks like the end of the file.
            if answer.length:
                raise http.client.IncompleteRead(b"", answer.length)
        except (OSError, http.client.HTTPException) as error:
            raise BundleError(
                f"{self.scheme}://{self.host}{path} cannot be read: {error!r}; the next try goes on "
                "from there"
            ) from error
        finally:
            connection.close()

    def _require_content(self, status: int, reason: str, path: str) -> None:
        """Raises BundleError unless an answer has the content of a file."""
        # Redirects are not followed: a signed request would carry its signature elsewhere.
        if status in (HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT):
            return
        asked = f"{self.scheme}://{self.host}{path}"
        if status in (HTTPStatus.NOT_FOUND, HTTPStatus.GONE):
            raise BundleNotFoundError(f"there is no {asked}; publish a bundle there")
        raise BundleError(
            f"{asked} was answered with {status} {reason}, expected 200 or 206; look at address and "
            "credentials"
        )


def _skip(file: IO[bytes] | http.client.HTTPResponse, n_bytes: int) -> None:
    """Reads over the first bytes."""
    while n_bytes and (chunk := file.read(min(n_bytes, CHUNK_BYTES))):
        n_bytes -= len(chunk)
