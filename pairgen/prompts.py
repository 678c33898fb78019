"""A prompt file: YAML front matter, then `# system` and `# user` sections with `{{holes}}`.

Holes are filled in one pass and what fills them is never scanned again, so an instruction may hold
braces. Declared `vars` must equal the holes found. The reply is read by a named parser or by a
`pattern` with named groups.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import BeforeValidator, Field, ValidationError, model_validator

from pairgen.engine import Frozen
from pairgen.errors import UsageError
from pairgen.fingerprint import Runtime
from pairgen.parsers import PARSERS
from pairgen.records import Message, Messages
from pairgen.resources import resource

HOLE = re.compile(r"\{\{\s*([a-z_]+)\s*\}\}")
SECTION = re.compile(r"^# (system|user)[ \t]*$", re.MULTILINE)


class PromptFile(Frozen):
    """A parsed prompt. All of it but the file's name is identity: edit the text and it is another prompt."""

    name: Runtime[str]
    vars: tuple[str, ...]
    parser: str | None = None
    pattern: str | None = None
    source: Runtime[str] = ""
    system: str | None = None
    user: str = Field(min_length=1)

    @model_validator(mode="after")
    def _check(self) -> "PromptFile":
        holes = set(HOLE.findall(self.user)) | set(HOLE.findall(self.system or ""))
        if holes != set(self.vars):
            raise ValueError(f"vars say {sorted(self.vars)} but the holes are {sorted(holes)}")
        if self.parser is not None and self.parser not in PARSERS:
            raise ValueError(f"no parser {self.parser!r}; have {sorted(PARSERS)}")
        if self.pattern is not None:
            re.compile(self.pattern)
        return self

    def render(self, **values: str) -> Messages:
        """The conversation with its holes filled. Raises KeyError when a value is missing."""
        system = () if self.system is None else (Message("system", fill(self.system, values)),)
        return (*system, Message("user", fill(self.user, values)))

    def read(self, reply: str) -> dict[str, str] | None:
        """The named parts of a reply, or None when it does not have the form asked for."""
        if self.parser is not None:
            return PARSERS[self.parser](reply)
        if self.pattern is None:
            return {"text": reply}
        match = re.search(self.pattern, reply)
        return match.groupdict() if match else None


def fill(template: str, values: Mapping[str, str]) -> str:
    """Fill every `{{hole}}` in one pass."""
    return HOLE.sub(lambda match: values[match.group(1)], template)


def parse_prompt(text: str, name: str) -> PromptFile:
    """A prompt file's text, parsed. Raises UsageError naming the file and what is wrong."""
    if not text.startswith("---\n") or "\n---\n" not in text[4:]:
        raise UsageError(f"{name}: a prompt file starts with YAML front matter between two --- lines")
    head, body = text[4:].split("\n---\n", 1)
    pieces = SECTION.split(body)
    sections = {key: value.strip("\n") for key, value in zip(pieces[1::2], pieces[2::2], strict=True)}
    try:
        front: dict[str, Any] = yaml.safe_load(head) or {}
        return PromptFile(name=name, **front, **sections)
    except (ValidationError, yaml.YAMLError, TypeError, re.error) as error:
        raise UsageError(f"{name}: {_first_line(error)}") from error


def _first_line(error: Exception) -> str:
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        return f"{'.'.join(map(str, first['loc'])) or 'prompt'}: {first['msg']}"
    return str(error).splitlines()[0]


def load_prompt(name: str) -> PromptFile:
    """A prompt by the name of a shipped file (`judge.md`, `world/judge.md`) or by a path of the user's."""
    own = Path(name)
    path = own if own.is_file() else resource("prompts", name)
    try:
        return parse_prompt(path.read_text(encoding="utf-8"), name)
    except UnicodeDecodeError as error:
        raise UsageError(f"{path}: not UTF-8 at byte {error.start}") from error


Prompt = Annotated[PromptFile, BeforeValidator(lambda value: load_prompt(value) if isinstance(value, str) else value)]
"""A field of a stage that names a prompt file in YAML and holds the parsed prompt."""


def shipped(name: str) -> Any:
    """The default of a `Prompt` field: a file that ships with pairgen, read when the stage is made."""
    return Field(default_factory=lambda: load_prompt(name))
