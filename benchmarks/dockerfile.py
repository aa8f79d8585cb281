"""A Dockerfile as values: its stages and their instructions, of the few kinds that ours uses."""

import json
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

KNOWN = frozenset({"RUN", "COPY", "ENV", "WORKDIR", "USER", "EXPOSE", "HEALTHCHECK", "CMD"})


@dataclass(frozen=True)
class Instruction:
    """One instruction: its word, and the rest of its lines joined."""

    word: str
    text: str

    def arguments(self) -> list[str]:
        """Returns the words of the rest, of the JSON form where it has that."""
        command = self.text.partition("CMD ")[2] if self.word == "HEALTHCHECK" else self.text
        if command.startswith("["):
            words: list[str] = json.loads(command)
            return words
        return shlex.split(command)


@dataclass(frozen=True)
class Stage:
    """One stage of the build.

    Attributes:
        base: The image that it starts from.
        name: What later stages call it; "" for the last one.
        instructions: In their order.
    """

    base: str
    name: str
    instructions: list[Instruction] = field(default_factory=list)

    def last(self, word: str) -> Instruction:
        """Returns the last instruction of a kind; raises ValueError if there is none."""
        found = [instruction for instruction in self.instructions if instruction.word == word]
        if not found:
            raise ValueError(f"the stage from {self.base} has no {word}, got {self.instructions}; add one")
        return found[-1]

    def environment(self) -> dict[str, str]:
        """Returns the variables that the stage sets."""
        texts = [instruction for instruction in self.instructions if instruction.word == "ENV"]
        pairs = [word.partition("=") for text in texts for word in text.arguments()]
        return {name: value for name, _, value in pairs}


def read_dockerfile(path: Path) -> list[Stage]:
    """Returns the stages of a Dockerfile; raises ValueError at an instruction that is not known here."""
    stages: list[Stage] = []
    for line in _joined_lines(path.read_text(encoding="utf8")):
        word, _, rest = line.partition(" ")
        if word == "FROM":
            base, _, name = rest.partition(" AS ")
            stages.append(Stage(base, name))
        elif word in KNOWN:
            stages[-1].instructions.append(Instruction(word, rest.strip()))
        else:
            raise ValueError(f"{path} must use {sorted(KNOWN)} only, got {word!r}; teach it to this reader")
    return stages


def _joined_lines(text: str) -> Iterator[str]:
    """Yields each instruction as one line, without comments."""
    pending = ""
    for line in text.splitlines():
        if line.lstrip().startswith("#") or not line.strip():
            continue
        pending += line.strip().removesuffix("\\")
        if not line.rstrip().endswith("\\"):
            yield pending
            pending = ""
