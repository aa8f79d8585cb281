"""A person whose id is easy to lose sight of, and the files that hold it in any form."""

import base64
import json
import subprocess
import sys
from pathlib import Path
from urllib.parse import quote, quote_plus

PERSON = "Ann+Müller/7@example.org"
FORMS = {
    "id": PERSON.encode(),
    "id in JSON": json.dumps(PERSON)[1:-1].encode(),
    "base64": base64.b64encode(PERSON.encode()).rstrip(b"="),
    "base64 for URLs": base64.urlsafe_b64encode(PERSON.encode()).rstrip(b"="),
    "hex": PERSON.encode().hex().encode(),
    "HEX": PERSON.encode().hex().upper().encode(),
    "URL": quote(PERSON, safe="").encode(),
    "URL with slashes": quote(PERSON).encode(),
    "form": quote_plus(PERSON).encode(),
}
PATH = f"/v1/users/{quote(PERSON, safe='')}"
# In a process of its own: closing a database that is open here would give up SQLite's locks on it.
SCAN = """
import json, pathlib, sys
forms = json.load(sys.stdin)
found = [
    f"{name} in {file}"
    for root in sys.argv[1:]
    for file in sorted(pathlib.Path(root).rglob("*"))
    if file.is_file()
    for content in [file.read_bytes()]
    for name, form in forms.items()
    if form.encode() in content
]
print(json.dumps(found))
"""


def traces(*roots: Path, **further: str) -> list[str]:
    """Returns where a form of the person stands in the files of folders."""
    forms = {name: form.decode() for name, form in FORMS.items()} | further
    arguments = [sys.executable, "-c", SCAN, *map(str, roots)]
    done = subprocess.run(
        arguments, input=json.dumps(forms).encode(), capture_output=True, timeout=60, check=True
    )
    found: list[str] = json.loads(done.stdout)
    return found
