"""Which bundle of a line is served: small files beside its versions, each replaced by a rename.

```
bundles/<name>/CURRENT      the version that answers
bundles/<name>/ACTIVATED    the versions that were made current, newest first: the way back
bundles/<name>/ROLLOUT      the candidates that answer some users, or are only compared (JSON)
```

Decides what they mean. Leaves to a service when it looks at them. Does not load a bundle.
"""

import hashlib
import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from marquee.bundle.manifest import MANIFEST, validate_name
from marquee.errors import BundleError, BundleNotFoundError, ConfigError
from marquee.store.files import OnStep, ignore_step, only_publisher, read_regular_file, replace_file

CURRENT = "CURRENT"
ACTIVATED = "ACTIVATED"
ROLLOUT = "ROLLOUT"
_MAX_ACTIVATED = 50
_HASH_BYTES = 8


@dataclass(frozen=True, slots=True)
class Trial:
    """A candidate, and how much of the traffic it sees.

    Attributes:
        version: The candidate.
        share: Of the users (canary) or of the requests (shadow), above 0, at most 1.
    """

    version: str
    share: float

    def __post_init__(self) -> None:
        validate_name(self.version, "the version of a candidate")
        if not isinstance(self.share, float | int) or not 0.0 < self.share <= 1.0:
            raise ConfigError(f"share must be above 0 and at most 1, got {self.share!r}; choose 0.05, say")

    def includes(self, caller: str) -> bool:
        """Returns whether a caller is among the share: the same on every machine, at every time.

        Who is among a small share is among every larger one of the same candidate; another candidate
        has others.
        """
        name = f"{self.version}\0{caller}".encode("utf-8", "surrogatepass")
        digest = hashlib.blake2b(name, digest_size=_HASH_BYTES).digest()
        return bool(int.from_bytes(digest, "big") < self.share * 2.0 ** (8 * _HASH_BYTES))


@dataclass(frozen=True, slots=True)
class Rollout:
    """The candidates of a line.

    Attributes:
        canary: Answers a share of the users in place of the current release.
        shadow: Answers a share of the requests once more, for comparison; nobody sees its answers.
    """

    canary: Trial | None = None
    shadow: Trial | None = None

    def without(self, version: str) -> "Rollout":
        """Returns the rollout without the trials of a version."""
        return Rollout(
            canary=None if self.canary and self.canary.version == version else self.canary,
            shadow=None if self.shadow and self.shadow.version == version else self.shadow,
        )

    def trials(self) -> Mapping[str, Trial]:
        """Returns the trials that there are, by their kind."""
        both = {"canary": self.canary, "shadow": self.shadow}
        return {kind: trial for kind, trial in both.items() if trial is not None}


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
    """Returns the folder of a version of a line.

    Args:
        home: Folder of the line.
        version: Of valid form.
        who: Begins the message that tells that there is none.

    Raises:
        BundleNotFoundError: If there is no such bundle.
    """
    folder = home / version
    if folder.is_symlink() or not (folder / MANIFEST).exists():
        raise BundleNotFoundError(f"{who} {version!r}, which is no bundle beside it; activate one that is")
    return folder


def activate(bundle: Path, on_step: OnStep = ignore_step) -> None:
    """Makes a published bundle the current one of its line, and ends the trials of it.

    Args:
        bundle: Folder of the bundle.
        on_step: Called with the name of each step before it is taken: for faults in tests.

    Raises:
        BundleNotFoundError: If there is no bundle.
        BundleError: If a publisher is at work.
    """
    if not (bundle / MANIFEST).is_file():
        raise BundleNotFoundError(f"{bundle} holds no {MANIFEST}; name the folder of a published bundle")
    with only_publisher(bundle.parent):
        set_current(bundle, on_step)


def go_back(home: Path, on_step: OnStep = ignore_step) -> Path:
    """Makes the version current that was so before the current one; returns its folder.

    Going back twice goes back by two.

    Raises:
        BundleNotFoundError: If nothing was current before, or it is there no more.
        BundleError: If a publisher is at work.
    """
    with only_publisher(home):
        bundle = previous(home)
        _point_to(bundle, on_step)
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


def set_current(bundle: Path, on_step: OnStep) -> None:
    """Points CURRENT at a bundle, at once for every reader; its caller is the only publisher."""
    home = bundle.parent
    before: list[str] = []
    with suppress(BundleError):
        before = _activated_from(home, resolve(home).name)
    if before[:1] != [bundle.name]:
        # First the way back, then the step: a list that runs ahead of CURRENT is read from CURRENT on.
        lines = [bundle.name, *before][:_MAX_ACTIVATED]
        replace_file(home / ACTIVATED, "".join(f"{line}\n" for line in lines).encode(), on_step)
    _point_to(bundle, on_step)


def _point_to(bundle: Path, on_step: OnStep) -> None:
    """Makes CURRENT name a bundle, and ends the trials of it."""
    home = bundle.parent
    replace_file(home / CURRENT, f"{bundle.name}\n".encode(), on_step)
    rollout = Rollout()
    with suppress(BundleError):  # what cannot be read can be replaced by whoever starts the next trial
        rollout = read_rollout(home)
    if rollout.without(bundle.name) != rollout:
        _write_rollout(home, rollout.without(bundle.name), on_step)


def read_rollout(home: Path) -> Rollout:
    """Returns the candidates of a line, none if nobody has named any.

    Raises:
        BundleError: If the file is not what `write_rollout` writes.
    """
    path = home / ROLLOUT
    if not path.exists():
        return Rollout()
    text = read_regular_file(path)
    try:
        body = json.loads(text)
        return Rollout(**{kind: Trial(**facts) for kind, facts in body.items()})
    except (ValueError, TypeError, AttributeError) as error:
        raise BundleError(
            f"{path} must hold the shares of candidates as JSON, got {text[:100]!r} ({error}); "
            "begin a trial again, or remove the file"
        ) from error


def begin_trial(bundle: Path, kind: str, share: float, on_step: OnStep = ignore_step) -> None:
    """Makes a published bundle the canary or the shadow of its line, in place of any other.

    Args:
        bundle: Folder of the bundle.
        kind: `canary` or `shadow`.
        share: As in `Trial`.
        on_step: As in `activate`.

    Raises:
        BundleNotFoundError: If there is no bundle.
        BundleError: If it is the current one, or a publisher is at work.
        ConfigError: If the share is none.
    """
    home, trial = bundle.parent, Trial(bundle.name, share)
    version_folder(home, bundle.name, f"{home} was asked for version")
    if resolve(home).name == bundle.name:
        raise BundleError(
            f"a {kind} must differ from the current release, got {bundle.name!r}; name another version"
        )
    with only_publisher(home):
        rollout = Rollout()
        with suppress(BundleError):
            rollout = read_rollout(home)
        _write_rollout(home, replace(rollout, **{kind: trial}), on_step)


def end_trials(home: Path, version: str, on_step: OnStep = ignore_step) -> None:
    """Ends the trials of a version.

    Raises:
        BundleNotFoundError: If there are none.
        BundleError: If the file cannot be read, or a publisher is at work.
    """
    with only_publisher(home):
        rollout = read_rollout(home)
        if rollout.without(version) == rollout:
            raise BundleNotFoundError(
                f"{version!r} must be a canary or a shadow of {home.name} to be ended, got "
                f"{[trial.version for trial in rollout.trials().values()]}; name one of them"
            )
        _write_rollout(home, rollout.without(version), on_step)


def _write_rollout(home: Path, rollout: Rollout, on_step: OnStep) -> None:
    """Replaces the candidates of a line."""
    body = {kind: {"version": one.version, "share": one.share} for kind, one in rollout.trials().items()}
    replace_file(home / ROLLOUT, f"{json.dumps(body)}\n".encode(), on_step)


def _activated_from(home: Path, version: str) -> list[str]:
    """Returns the versions that were made current, from `version` back; it alone if nothing is known."""
    path = home / ACTIVATED
    lines = read_regular_file(path).decode("ascii", "replace").split() if path.exists() else []
    return lines[lines.index(version) :] if version in lines else [version]
