"""Makes the key by which users are kept under pseudonyms: the command.

`python -m serving.make_user_key path=keys/users` writes a new file that its owner alone can read; the service
finds it by `MARQUEE_USER_KEY`. Nothing of the key is printed or logged.
"""

import secrets
import sys
from collections.abc import Sequence
from pathlib import Path

from marquee.errors import ConfigError
from marquee.store.people.user_key import KEY_BYTES, UserKey, write_user_key

USAGE = "usage: python -m serving.make_user_key path=<new file>"


def main(arguments: Sequence[str]) -> int:
    """Writes a new key and says what to do with it; returns the exit status."""
    given = dict(argument.partition("=")[::2] for argument in arguments)
    if given.keys() != {"path"} or not given["path"]:
        print(f"path must be given and nothing else, got {list(arguments)}\n{USAGE}", file=sys.stderr)
        return 2
    path = Path(given["path"])
    try:
        write_user_key(path, secrets.token_bytes(KEY_BYTES))
    except ConfigError as error:
        print(f"{error}\n{USAGE}", file=sys.stderr)
        return 2
    print(
        f"user key {path}, fingerprint {UserKey.read(path).fingerprint.hex()}: name it in MARQUEE_USER_KEY,\n"
        "and keep a copy apart from the store: without it every user is a stranger, whom nobody can erase."
    )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
