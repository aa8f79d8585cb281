"""Which bundle of a channel is served: small files beside its versions, each replaced by a rename.

```
bundles/<name>/CURRENT      the version that answers
bundles/<name>/ACTIVATED    the versions that were made current, newest first: the way back
bundles/<name>/ROLLOUT      the candidates that answer some users, or are only compared (JSON)
```

A channel is a folder of versions that follow each other. Decides what its files mean. Leaves to a service
when it looks at them. Does not load a bundle.
"""

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from marquee.bundle.manifest import MANIFEST, validate_name
from marquee.bundle.variants import SMALLEST_SHARE, unit_position
from marquee.errors import BundleError, BundleNotFoundError, ConfigError
from marquee.store.files import only_publisher, read_regular_file, replace_file

CURRENT = "CURRENT"
ACTIVATED = "ACTIVATED"
ROLLOUT = "ROLLOUT"
# Bounds the file, which is written anew at each activation.
_MAX_ACTIVATED = 50


class Role(StrEnum):
    """The role of a candidate beside the current release."""

    canary = "canary"  # answers a share of the users in place of the current release
    shadow = "shadow"  # is asked a share of the requests once more, for comparison; nobody sees its answers


@dataclass(frozen=True, slots=True)
class Candidate:
    """A release that may become the current one, and how much of the traffic it sees until then.

    Attributes:
        role: What it does.
        version: Its version.
        share: Of the users (canary) or of the requests (shadow), at most 1, in steps of
            `SMALLEST_SHARE`, rounded up.
    """

    role: Role
    version: str
    share: float

    def __post_init__(self) -> None:
        validate_name(self.version, "the version of a candidate")
        # It may come from a file that was edited by hand, and JSON has texts too.
        # Below the smallest share one step of positions would still be answered by it: more than was asked.
        if not isinstance(self.share, float | int) or not SMALLEST_SHARE <= self.share <= 1.0:
            raise ConfigError(
                f"share must be at least {SMALLEST_SHARE:g}, the smallest that can be drawn, and at most 1, "
                f"got {self.share!r}; choose 0.05, say"
            )

    def includes(self, caller: str) -> bool:
        """Tells whether a caller is in the share: the same on every machine, at every time.

        A caller in a small share is in every larger share of the same candidate. Another candidate has
        other callers.
        """
        # Seeded by the version: else every candidate would meet the same callers first. The position is that
        # of experiments: people are split one way.
        return unit_position(self.version, caller) < self.share


Rollout = Mapping[Role, Candidate]
"""The candidates of a channel, at most one for each role."""


def without(rollout: Rollout, version: str) -> Rollout:
    """Returns the candidates but those of one version."""
    return {role: candidate for role, candidate in rollout.items() if candidate.version != version}


def resolve(path: Path) -> Path:
    """Returns the folder of the bundle that `path` means: itself, or the one that its CURRENT names.

    Raises:
        BundleNotFoundError: If there is neither a manifest nor a CURRENT that names a bundle.
        BundleError: If CURRENT names anything but a folder beside it.
    """
    if (path / MANIFEST).exists():
        return path
    pointer = path / CURRENT
    if not pointer.exists():
        raise BundleNotFoundError(
            f"{path} holds neither {MANIFEST} nor {CURRENT}; export a bundle to it first"
        )
    text = read_regular_file(pointer)
    try:
        version = text.decode("ascii").removesuffix("\n")
        validate_name(version, "a version")
    except (UnicodeDecodeError, ConfigError) as error:
        raise BundleError(
            f"{pointer} must hold one version, got {text[:100]!r}; activate a bundle"
        ) from error
    return version_folder(path, version, f"{pointer} names version")


def version_folder(home: Path, version: str, who: str) -> Path:
    """Returns the folder of a version of a channel.

    Args:
        home: Folder of the channel.
        version: Of valid form.
        who: Begins the message that tells that there is none.

    Raises:
        BundleNotFoundError: If there is no such bundle.
    """
    folder = home / version
    # A link could lead out of the channel.
    if folder.is_symlink() or not (folder / MANIFEST).exists():
        raise BundleNotFoundError(f"{who} {version!r}, which is no bundle beside it; activate one that is")
    return folder


def activate(bundle: Path) -> None:
    """Makes a published bundle the current one of its channel; it is then no candidate any more.

    Args:
        bundle: Folder of the bundle.

    Raises:
        BundleNotFoundError: If there is no bundle.
        BundleError: If a publisher is at work.
    """
    if not (bundle / MANIFEST).is_file():
        raise BundleNotFoundError(f"{bundle} holds no {MANIFEST}; name the folder of a published bundle")
    with only_publisher(bundle.parent):
        set_current(bundle)


def go_back(home: Path) -> Path:
    """Makes the version current that was so before the current one; returns its folder.

    Going back twice goes back by two.

    Raises:
        BundleNotFoundError: If nothing was current before, or it is there no more.
        BundleError: If a publisher is at work.
    """
    with only_publisher(home):
        bundle = previous(home)
        # ACTIVATED stays as it is: CURRENT moves back along it, so that going back again goes further.
        _point_to(bundle)
    return bundle


def previous(home: Path) -> Path:
    """Returns the folder of the version that was current before the current one.

    Raises:
        BundleNotFoundError: If there was none, or it is there no more.
    """
    earlier = _activated_from(home, resolve(home).name)[1:]
    if not earlier:
        raise BundleNotFoundError(
            f"{home} names nothing that was current before {resolve(home).name!r}; activate a version by name"
        )
    return version_folder(home, earlier[0], f"{home / ACTIVATED} names version")


def way_back(home: Path) -> list[str]:
    """Returns the versions that were current before the one that CURRENT names, newest first.

    These are all that were ever current if CURRENT names none of them: whoever wrote it by hand did not leave
    the others. Versions that were left by going back are not among them.
    """
    try:
        names = read_regular_file(home / ACTIVATED).decode("ascii", "replace").split()
    except (BundleError, OSError):
        return []
    current = ""
    with suppress(BundleError, OSError):
        current = read_regular_file(home / CURRENT).decode("ascii", "replace").strip()
    after = names[names.index(current) + 1 :] if current in names else names
    return [name for name in dict.fromkeys(after) if _is_name(name)]


def set_current(bundle: Path) -> None:
    """Points CURRENT at a bundle, at once for every reader; its caller is the only publisher."""
    home = bundle.parent
    before: list[str] = []
    with suppress(BundleError):
        before = _activated_from(home, resolve(home).name)
    if before[:1] != [bundle.name]:
        # First the way back, then the step: a list that runs ahead of CURRENT is read from CURRENT on.
        lines = [bundle.name, *before][:_MAX_ACTIVATED]
        replace_file(home / ACTIVATED, "".join(f"{line}\n" for line in lines).encode())
    _point_to(bundle)


def _point_to(bundle: Path) -> None:
    """Makes CURRENT name a bundle, which is then no candidate any more."""
    home = bundle.parent
    replace_file(home / CURRENT, f"{bundle.name}\n".encode())
    rollout: Rollout = {}
    with suppress(BundleError):  # an unreadable file is replaced by the next candidate
        rollout = read_rollout(home)
    if without(rollout, bundle.name) != rollout:
        _write_rollout(home, without(rollout, bundle.name))


def read_rollout(home: Path) -> Rollout:
    """Reads the candidates of a channel; there are none if the file is missing.

    Raises:
        BundleError: If the file holds anything else.
    """
    path = home / ROLLOUT
    if not path.exists():
        return {}
    text = read_regular_file(path)
    try:
        body = json.loads(text)
        return {Role(role): Candidate(Role(role), **facts) for role, facts in body.items()}
    except (ValueError, TypeError, AttributeError) as error:
        raise BundleError(
            f"{path} must hold the shares of candidates as JSON, got {text[:100]!r} ({error}); "
            "name a candidate again, or remove the file"
        ) from error


def name_candidate(bundle: Path, role: Role, share: float) -> None:
    """Makes a published bundle the candidate of a role in its channel, in place of any other.

    Args:
        bundle: Folder of the bundle.
        role: Canary or shadow.
        share: As in `Candidate`.

    Raises:
        BundleNotFoundError: If there is no bundle.
        BundleError: If it is the current one, or another publisher holds the lock.
        ConfigError: If the share is out of range.
    """
    home, candidate = bundle.parent, Candidate(role, bundle.name, share)
    version_folder(home, bundle.name, f"{home} was asked for version")
    if resolve(home).name == bundle.name:
        raise BundleError(
            f"a {role} must differ from the current release, got {bundle.name!r}; name another version"
        )
    with only_publisher(home):
        rollout: Rollout = {}
        with suppress(BundleError):  # an unreadable file is what this one replaces
            rollout = read_rollout(home)
        _write_rollout(home, {**rollout, role: candidate})


def drop_candidate(home: Path, version: str) -> None:
    """Takes a version out of every role that it has.

    Raises:
        BundleNotFoundError: If it has none.
        BundleError: If the file cannot be read, or another publisher holds the lock.
    """
    with only_publisher(home):
        rollout = read_rollout(home)
        if without(rollout, version) == rollout:
            raise BundleNotFoundError(
                f"{version!r} must be a canary or a shadow of {home.name} to be ended, got "
                f"{[candidate.version for candidate in rollout.values()]}; name one of them"
            )
        _write_rollout(home, without(rollout, version))


def _write_rollout(home: Path, rollout: Rollout) -> None:
    """Replaces the candidates of a channel; the roles stand in the order of `Role`."""
    body = {
        role: {"version": rollout[role].version, "share": rollout[role].share}
        for role in Role
        if role in rollout
    }
    replace_file(home / ROLLOUT, f"{json.dumps(body)}\n".encode())


def _is_name(version: str) -> bool:
    """Tells whether a version can be the name of a folder."""
    try:
        validate_name(version, "a version")
    except ConfigError:
        return False
    return True


def _activated_from(home: Path, version: str) -> list[str]:
    """Returns the versions that were made current, from `version` back; it alone if nothing is known."""
    path = home / ACTIVATED
    lines = read_regular_file(path).decode("ascii", "replace").split() if path.exists() else []
    return lines[lines.index(version) :] if version in lines else [version]
