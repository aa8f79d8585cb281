"""`python -m serving.register bundle=bundles/<name>`: keeps a copy of a bundle in the BentoML model store.

The store is where BentoML's own tools look for models, to list, export and push them. It is no way to
release one: its `latest` is not replaced whole. The service is released from a bundle folder.
"""

import shutil
import sys
from collections.abc import Sequence
from contextlib import suppress

import bentoml
from bentoml.exceptions import BentoMLException, NotFound
from bentoml.models import ModelContext

from marquee.bundle.bundle import Bundle
from marquee.bundle.manifest import MANIFEST
from marquee.errors import BundleError, ConfigError, MarqueeError
from marquee.store.signing import SIGNATURE

USAGE = "usage: python -m serving.register bundle=<folder of a bundle>"


def register(path: str) -> bentoml.Tag:
    """Copies the bundle at `path` into the model store, once, and returns its tag there.

    Args:
        path: As for `Bundle.load`, which also reads the copy.

    Raises:
        BundleError: If the bundle cannot be used, or the store holds another one of this name and version.
        ConfigError: If its name or version cannot be a tag.
    """
    bundle = Bundle.load(path)
    tag = _tag(bundle)
    if _is_registered(tag, bundle):
        return tag
    manifest = bundle.manifest
    with bentoml.models.create(
        tag,
        labels={"framework": "marquee"},
        metadata={
            "n_items": manifest.n_items,
            "n_users": manifest.n_users,
            "metrics": dict(manifest.metrics),
        },
        context=ModelContext(framework_name="marquee", framework_versions={}),
    ) as model:
        signature = (SIGNATURE,) if (bundle.path / SIGNATURE).exists() else ()
        for name in (MANIFEST, *signature, *manifest.files):
            shutil.copyfile(bundle.path / name, model.path_of(name))
    return tag


def _tag(bundle: Bundle) -> bentoml.Tag:
    """Returns the tag of a bundle; tags have no upper case."""
    name, version = bundle.manifest.name.lower(), bundle.manifest.version.lower()
    try:
        return bentoml.Tag(name, version)
    except ValueError as error:
        raise ConfigError(
            f"the model store cannot hold bundle {name!r} in version {version!r}: {error}; rename it"
        ) from error


def _is_registered(tag: bentoml.Tag, bundle: Bundle) -> bool:
    """Returns whether the store holds this very bundle; sweeps what a killed registration left of it."""
    try:
        model = bentoml.models.get(tag)
        if model.tag != tag:  # the store also finds a version that merely begins alike
            return False
        registered = Bundle.load(model.path)
    except NotFound:
        return False
    except (BentoMLException, BundleError):
        with suppress(NotFound):
            bentoml.models.delete(tag)
        return False
    if registered.manifest != bundle.manifest:
        raise BundleError(
            f"the model store holds another bundle as {tag} than {bundle.path}; publish a new version"
        )
    return True


def main(arguments: Sequence[str]) -> int:
    """Registers the bundle that the command line names; returns the exit status."""
    if len(arguments) != 1 or not arguments[0].startswith("bundle="):
        print(USAGE, file=sys.stderr)
        return 2
    try:
        print(register(arguments[0].removeprefix("bundle=")))
    except MarqueeError as error:
        print(f"not registered: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
