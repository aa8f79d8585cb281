"""The packages of the serving process: the closure of `marquee[serve]`, at the versions of constraints.txt.

`python -m tests.architecture.requirements` prints it; `make lock` writes it to deploy/requirements.txt.
"""

from importlib.metadata import requires

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.architecture.sources import read_text

HEADER = (
    "# What serving needs and nothing else, at the versions of constraints.txt; written by `make lock`.\n"
)


def pins() -> dict[str, str]:
    """Returns the line of constraints.txt for each package."""
    lines = [line for line in read_text("constraints.txt").splitlines() if "==" in line]
    return {canonicalize_name(line.partition("==")[0]): line for line in lines}


def needed_by(requirement: Requirement) -> list[Requirement]:
    """Returns the requirements of a package with its extras on this machine."""
    extras = requirement.extras or {""}
    parsed = [Requirement(text) for text in requires(requirement.name) or ()]
    return [
        other
        for other in parsed
        if other.marker is None or any(other.marker.evaluate({"extra": extra}) for extra in extras)
    ]


def serving_requirements() -> str:
    """Returns the text of deploy/requirements.txt."""
    pending, seen = [Requirement("marquee[serve]")], set[str]()
    while pending:
        requirement = pending.pop()
        key = f"{canonicalize_name(requirement.name)}{sorted(requirement.extras)}"
        if key not in seen:
            seen.add(key)
            pending += needed_by(requirement)
    names = {key.partition("[")[0] for key in seen} - {"marquee"}
    pinned = pins()
    return HEADER + "".join(f"{pinned[name]}\n" for name in sorted(names))


if __name__ == "__main__":
    print(serving_requirements(), end="")
