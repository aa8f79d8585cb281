"""The configs as a menu: where they are, and what the comment at the head of each says.

`--help` is made of these comments alone: it composes nothing and loads no model, so that it comes at once.

```yaml
# Every item of the catalog is a negative: exact.           what it is, on one line
# Choose it for catalogs of up to some ten thousand items.  when to choose it
#
#   dim: 64  length of a vector                             a knob, its default, a word on its values
```
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import shorten
from typing import Any

import yaml

_PACKAGE = Path(__file__).parents[1]
# Two spaces or more part default and words: one may stand within a default.
_KNOB = re.compile(r"#   ([\w.]+): (.*?)(?:  +(.*))?$")
_WIDTH, _WORDS_WIDTH = 24, 100


def find_configs(package: Path) -> Path:
    """Returns the folder of the configs.

    Args:
        package: Folder of the package `training`. The wheel holds the configs inside of it; a checkout, which
            an editable install points to, has them beside it.
    """
    # The wheel first: a folder `configs` beside an installed package is somebody else's.
    inside = package / "configs"
    return inside if inside.is_dir() else package.parent / "configs"


CONFIGS = find_configs(_PACKAGE)


@dataclass(frozen=True)
class Knob:
    """A line of the menu.

    Attributes:
        name: Of the key.
        default: As YAML.
        words: Its values and what they do.
    """

    name: str
    default: str
    words: str


@dataclass(frozen=True)
class Menu:
    """The comment at the head of a config file.

    Attributes:
        lines: What it is, and when to choose it.
        knobs: In the order of the schema.
    """

    lines: tuple[str, ...]
    knobs: tuple[Knob, ...]

    @classmethod
    def read(cls, path: Path) -> "Menu":
        """Returns the menu at the head of a file."""
        lines: list[str] = []
        knobs: list[Knob] = []
        for line in path.read_text(encoding="utf-8").splitlines():
            # The head ends here; comments further down speak of single keys.
            if not line.startswith("#"):
                break
            if found := _KNOB.fullmatch(line):
                knobs.append(Knob(found[1], found[2], found[3] or ""))
            elif (text := line.removeprefix("#").strip()) and not text.startswith("@package"):
                lines.append(text)
        return cls(tuple(lines), tuple(knobs))


def help_text(name: str, program: str) -> str:
    """Returns the text of `--help` for a command.

    Args:
        name: Of its file in `configs/`, without its ending.
        program: As a person types the command.
    """
    path = CONFIGS / f"{name}.yaml"
    menu = Menu.read(path)
    lines = [f"{program} key=value …", "", *menu.lines]
    if menu.knobs:
        lines += ["", "Keys (a default of ??? must be given):", *_table(menu.knobs)]
    chosen = _chosen(path)
    for group in chosen:
        lines += ["", f"{group}=…  (configs/{group})", *_choices(group, chosen[group])]
    lines += [
        "",
        f"All keys with their values, as composed:   {program} key=value … --cfg job",
        f"Several values, one run each:              {program} key=1,2 --multirun",
        f"YAML files of your own, same groups:       {program} --config-dir FOLDER …",
        f"Hydra's own flags:                         {program} --hydra-help",
    ]
    return "\n".join(lines)


def _chosen(path: Path) -> dict[str, str]:
    """Returns each group of choices that a command has, with what it takes by default."""
    content: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))  # Any: whatever YAML holds
    chosen = {}
    for entry in content["defaults"]:
        if isinstance(entry, dict):
            key, value = next(iter(entry.items()))
            # Hydra's words before a group are no part of its name.
            chosen[str(key).removeprefix("optional ").removeprefix("override ")] = str(value)
    return {group: value for group, value in chosen.items() if (CONFIGS / group).is_dir()}


def _choices(group: str, default: str) -> Iterator[str]:
    """Yields a line per choice of a group; the default is marked."""
    for path in sorted((CONFIGS / group).glob("*.yaml")):
        what = shorten((Menu.read(path).lines or ("",))[0], _WORDS_WIDTH, placeholder=" …")
        yield f"{' *' if path.stem == default else '  '} {path.stem:{_WIDTH}s} {what}"


def _table(knobs: Sequence[Knob]) -> Iterator[str]:
    """Yields knobs with their columns below each other."""
    name, default = (max(len(getattr(knob, column)) for knob in knobs) for column in ("name", "default"))
    for knob in knobs:
        yield f"   {knob.name:{name}s}  {knob.default:{default}s}  {knob.words}".rstrip()
