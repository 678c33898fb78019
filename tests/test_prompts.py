"""Prompt files: holes, sections, parsers, and every prompt that ships."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pairgen.engine import Frozen
from pairgen.errors import UsageError
from pairgen.fingerprint import identity
from pairgen.prompts import Prompt, fill, load_prompt, parse_prompt
from pairgen.resources import ROOT

SHIPPED = sorted(str(p.relative_to(ROOT / "prompts")) for p in (ROOT / "prompts").rglob("*.md"))


def written(front: str = "vars: [x]", body: str = "# user\n{{x}}") -> str:
    return f"---\n{front}\n---\n{body}\n"


@given(st.text(), st.text())
def test_what_fills_a_hole_is_never_scanned(x: str, y: str) -> None:
    """Data with braces goes in as it is: `{{y}}` inside x is not filled."""
    assert fill("<{{x}}|{{ y }}>", {"x": x + "{{y}}", "y": y}) == f"<{x}{{{{y}}}}|{y}>"


def test_sections_and_system() -> None:
    """A prompt is an optional system turn and a user turn, without the blank lines around them."""
    prompt = parse_prompt(
        written("vars: [x]", "\n# system\nBe {{x}}.\n\n# user\n\nHi {{x}}\n\nBye\n"), "p.md"
    )
    turns = [(m.role, m.content) for m in prompt.render(x="kind")]
    assert turns == [("system", "Be kind."), ("user", "Hi kind\n\nBye")]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("no front matter", "front matter"),
        (written("vars: [x, y]"), "vars say"),
        (written("vars: []"), "vars say"),
        (
            written("vars: [x]", "# user\n{{x}} {{Y2}}"),
            "vars say",
        ),  # an odd name is a hole too, never sent as it is
        (written("vars: [x]\nparser: verdit"), "did you mean 'verdict'"),
        (written("vars: [x]\nparser: verdict\npattern: (?P<a>x)"), "both"),
        (written("vars: [x]\npattern: '(?P<a'"), "not a regular expression"),
        (written("vars: [x]\npattern: 'abc'"), "no named group"),
        (written("vars: [x]\nparsers: verdict"), "did you mean 'parser'"),
        (written("- a\n- b"), "front matter is a mapping"),
        (written("vars: [x]\nuser: hello"), "front matter is a mapping"),
        (written("vars: [x"), "p.md"),
        (written("vars: []", "no heading {{x}}"), "text before the first"),
        (written("vars: [x]", "stray\n# user\n{{x}}"), "text before the first"),
        (written("vars: [x]", "# user\n{{x}}\n# user\nagain"), "two sections"),
        (written("vars: []", ""), "user"),
        (written("vars: []", "# user\n"), "user"),
        (written("vars: [x]\nending: bye"), "ending: blanks and line ends only, found 'bye'"),
        (written("vars: [x]\nending: 3"), "ending: blanks"),
    ],
)
def test_faulty_prompt_files(text: str, says: str) -> None:
    """A faulty prompt file is one line that names the file and what is wrong."""
    with pytest.raises(UsageError) as caught:
        parse_prompt(text, "p.md")
    assert str(caught.value).startswith("p.md: ")
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_ending_and_an_empty_system_turn() -> None:
    """Blank lines at the end are sent only where `ending` says so; an empty system section is a turn."""
    prompt = parse_prompt(written('vars: [x]\nending: "\\n\\n"', "# system\n\n# user\n{{x}}\n\n\n\n"), "p.md")
    assert [(m.role, m.content) for m in prompt.render(x="Hi")] == [("system", ""), ("user", "Hi\n\n")]


def test_a_missing_value_is_an_error() -> None:
    """Rendering without a value never sends a hole."""
    with pytest.raises(KeyError):
        parse_prompt(written(), "p.md").render()


def test_replies_are_read_by_pattern_or_parser() -> None:
    """A pattern gives its named groups, an absent group as empty text; no pattern gives the whole text."""
    prompt = parse_prompt(written("vars: [x]\npattern: '(?P<a>\\d+)(?P<b>!)?'"), "p.md")
    assert prompt.read("no") is None
    assert prompt.read("see 12") == {"a": "12", "b": ""}
    assert prompt.parts == {"a", "b"}
    assert parse_prompt(written(), "p.md").read("all") == {"text": "all"}
    assert load_prompt("judge.md").parts == {"verdict"}


def test_the_text_is_identity_and_the_name_is_not() -> None:
    """A renamed prompt is the same prompt; an edited one is another."""
    one, renamed, edited = (
        parse_prompt(written(body=f"# user\n{{{{x}}}}{end}"), name)
        for name, end in (("a.md", ""), ("b.md", ""), ("a.md", "!"))
    )
    assert identity(one) == identity(renamed) != identity(edited)


@pytest.mark.parametrize("name", SHIPPED)
def test_every_shipped_prompt_renders(name: str) -> None:
    """Each prompt renders with its variables, each value once or more, and two inputs give two prompts."""
    prompt = load_prompt(name)
    one = prompt.render(**{var: f"<{var} {{{{one}}}}>" for var in prompt.vars})
    text = "\n".join(m.content for m in one)
    for var in prompt.vars:
        assert f"<{var} {{{{one}}}}>" in text
        other = prompt.render(**{v: "changed" if v == var else f"<{v} {{{{one}}}}>" for v in prompt.vars})
        assert other != one
    assert prompt.render(**{var: f"<{var} {{{{one}}}}>" for var in prompt.vars}) == one  # nothing was kept


def test_shipped_examples_of_replies_parse() -> None:
    """What the similar, worse and tag prompts ask for is what their parsers read."""
    for name in ("similar.md", "worse.md"):
        form = load_prompt(name).user.split("Use exactly this format:\n")[1]
        parts = load_prompt(name).read(form)
        assert parts is not None
        assert "<the" in parts["answer"]


@pytest.mark.parametrize("name", ["", "world", "nope.md", "x" * 400, "a/b\0c.md"])
def test_names_that_are_no_prompt_file(name: str) -> None:
    """A folder, a missing file and a name no disk could hold are one clear line."""
    with pytest.raises(UsageError):
        load_prompt(name)


def test_a_users_own_file(tmp_path: Path) -> None:
    """A path of the user's is read, with CRLF line ends and a byte order mark too."""
    file = tmp_path / "mine.md"
    file.write_bytes(b"\xef\xbb\xbf" + written().replace("\n", "\r\n").encode())
    assert load_prompt(str(file)).render(x="1")[0].content == "1"
    file.write_bytes(b"---\nvars: []\n---\n# user\n\xff\n")
    with pytest.raises(UsageError, match="not UTF-8 at byte"):
        load_prompt(str(file))


def test_a_field_says_where_a_missing_prompt_was_named() -> None:
    """A prompt that does not exist is reported for the field that names it, with the nearest name."""

    class Stage(Frozen):
        prompt: Prompt

    with pytest.raises(ValueError, match=r"(?s)prompt\n.*did you mean 'judge.md'"):
        Stage.model_validate({"prompt": "jugde.md"})
    assert Stage.model_validate({"prompt": "judge.md"}).prompt.parser == "verdict"
