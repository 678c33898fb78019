"""A prompt file: YAML front matter, then `# system` and `# user` sections with `{{holes}}`.

Holes are filled in one pass and what fills them is never scanned again, so an instruction may hold
braces. Declared `vars` must equal the holes found. The reply is read by a named parser or by a
`pattern` with named groups. Blank lines around a section are not part of it; `ending` in the front
matter is put after the user turn where a prompt must end in some.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import BeforeValidator, Field, ValidationError, field_validator, model_validator

from pairgen.engine import Frozen
from pairgen.errors import UsageError, nearest
from pairgen.fingerprint import Runtime
from pairgen.parsers import PARSERS, PARTS
from pairgen.records import Message, Messages
from pairgen.resources import resource

HOLE = re.compile(r"\{\{\s*(\w+)\s*\}\}")
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
            raise ValueError(f"no parser {self.parser!r}: {nearest(self.parser, PARSERS)}")
        if self.parser is not None and self.pattern is not None:
            raise ValueError("has both a parser and a pattern; a reply is read by one of them")
        return self

    @field_validator("pattern")
    @classmethod
    def _compiles(cls, value: str | None) -> str | None:
        try:
            named = value is None or re.compile(value).groupindex
        except re.error as error:
            raise ValueError(f"not a regular expression ({error})") from error
        if not named:
            raise ValueError("has no named group; write (?P<answer>...)")
        return value

    @property
    def parts(self) -> frozenset[str]:
        """The names of what `read` returns: the parser's, the pattern's groups, or the whole text."""
        if self.parser is not None:
            return PARTS[self.parser]
        return frozenset({"text"} if self.pattern is None else re.compile(self.pattern).groupindex)

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
        return match.groupdict("") if match else None


def fill(template: str, values: Mapping[str, str]) -> str:
    """Fill every `{{hole}}` in one pass."""
    return HOLE.sub(lambda match: values[match.group(1)], template)


def parse_prompt(text: str, name: str) -> PromptFile:
    """A prompt file's text, parsed. Raises UsageError naming the file and what is wrong."""
    if not text.startswith("---\n") or "\n---\n" not in text[3:]:
        raise UsageError(f"{name}: a prompt file starts with YAML front matter between two --- lines")
    head, body = text[3:].split("\n---\n", 1)
    sections = _sections(body, name)
    try:
        front = yaml.safe_load(head) or {}
        if not isinstance(front, dict) or front.keys() & {"name", "system", "user"}:
            raise UsageError(f"{name}: the front matter is a mapping of vars, parser or pattern, and source")
        ending = front.pop("ending", "")
        if not isinstance(ending, str) or ending.strip():
            raise UsageError(f"{name}: ending: blanks and line ends only, found {ending!r:.40}")
        return PromptFile(name=name, **front, **_ended(sections, ending))
    except (ValidationError, yaml.YAMLError, TypeError) as error:
        raise UsageError(f"{name}: {_first_line(error)}") from error


def _sections(body: str, name: str) -> dict[str, str]:
    """The text below each heading; text above the first, or a heading twice, is an error."""
    preamble, *pieces = SECTION.split(body)
    if preamble.strip():
        raise UsageError(f"{name}: text before the first # system or # user would be lost")
    if len(set(pieces[::2])) != len(pieces[::2]):
        raise UsageError(f"{name}: two sections of one name; a line `# user` is always a heading")
    return {key: value.strip("\n") for key, value in zip(pieces[::2], pieces[1::2], strict=True)}


def _ended(sections: dict[str, str], ending: str) -> dict[str, str]:
    return sections | {"user": sections["user"] + ending} if "user" in sections else sections


def _first_line(error: Exception) -> str:
    if not isinstance(error, ValidationError):
        return str(error).splitlines()[0]
    first = error.errors()[0]
    place = ".".join(map(str, first["loc"])) or "prompt"
    if first["type"] == "extra_forbidden":
        return f"{place}: unknown key; {nearest(place, PromptFile.model_fields)}"
    return f"{place}: {first['msg'].removeprefix('Value error, ')}"


def load_prompt(name: str) -> PromptFile:
    """A prompt by the name of a shipped file (`judge.md`, `world/judge.md`) or by a path of the user's."""
    try:
        path = Path(name) if Path(name).is_file() else resource("prompts", name)
        return parse_prompt(path.read_text(encoding="utf-8-sig"), name)
    except UnicodeDecodeError as error:
        raise UsageError(f"{name}: not UTF-8 at byte {error.start}") from error
    except OSError as error:
        raise UsageError(f"{name[:200]}: cannot be read as a prompt file ({error.strerror})") from error


def _named(value: object) -> object:
    """A prompt file's name, loaded; pydantic then says in which field a wrong one stood."""
    if not isinstance(value, str):
        return value
    try:
        return load_prompt(value)
    except UsageError as error:
        raise ValueError(str(error)) from error


Prompt = Annotated[PromptFile, BeforeValidator(_named)]
"""A field of a stage that names a prompt file in YAML and holds the parsed prompt."""


def shipped(name: str) -> Any:
    """The default of a `Prompt` field: a file that ships with pairgen, read when the stage is made."""
    return Field(default_factory=lambda: load_prompt(name))
