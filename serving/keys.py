"""Makes API keys: the command.

`python -m serving.keys name=shop scopes=recommend requests_per_s=200` prints a new key, once, and the
entry that belongs into the file which `MARQUEE_KEYS` names. The file never holds a key, and no key is logged.
"""

import hashlib
import secrets
import sys
from collections.abc import Sequence

import msgspec

from serving.http.guard import Key, Right

USAGE = (
    "usage: python -m serving.keys name=<name> "
    "[scopes=recommend,events,users,items,rules,campaigns,metrics,admin] [requests_per_s=0] [burst=0]"
)


def main(arguments: Sequence[str]) -> int:
    """Prints a new key and its entry for the file; returns the exit status."""
    given = dict(argument.partition("=")[::2] for argument in arguments)
    secret = secrets.token_urlsafe(32)
    try:
        key = msgspec.convert(
            {
                "name": given.pop("name", ""),
                "sha256": hashlib.sha256(secret.encode()).hexdigest(),
                "scopes": given.pop("scopes", Right.recommend.value).split(","),
                **given,
            },
            Key,
            strict=False,
        )
    except msgspec.ValidationError as error:
        print(f"{error}\n{USAGE}", file=sys.stderr)
        return 2
    print(f"key, shown only now: {secret}\nits entry for the file: {msgspec.json.encode(key).decode()}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
