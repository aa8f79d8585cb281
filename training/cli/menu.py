"""Where the configs are: beside the code in a checkout, inside the package where it was installed."""

from pathlib import Path

_PACKAGE = Path(__file__).parents[1]


def find_configs(package: Path) -> Path:
    """Returns the folder of the configs.

    Args:
        package: Folder of the package `training`. The wheel holds the configs inside of it; a checkout, which
            an editable install points to, has them beside it.
    """
    inside = package / "configs"
    return inside if inside.is_dir() else package.parent / "configs"


CONFIGS = find_configs(_PACKAGE)
