"""Conversations to token ids, with the tokens that an assistant wrote.

The chat template is rendered as text and tokenised once, whole; character offsets then say which tokens
an assistant turn owns. A target is every token of an assistant turn with its end-of-turn token, which
is what an engine samples. The template alone decides on a BOS, as it does when an engine renders a
chat; two are an error.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pairgen.errors import UsageError
from pairgen.records import Messages

Ids = NDArray[np.int32]

PLAIN = (
    "{{- bos_token if bos_token is defined -}}{%- for m in messages -%}{{- m.content -}}"
    "{%- if m.role == 'assistant' -%}{{- eos_token if eos_token is defined -}}{%- endif -%}{%- endfor -%}"
)
"""The template called `plain`: prompt, completion and EOS as they are, one BOS if the tokenizer has one."""


@dataclass(frozen=True, slots=True)
class Conversation:
    """Messages, and the indices of the assistant turns to be learnt."""

    messages: Messages
    turns: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Tokens:
    """Token ids of a conversation, and for each assistant turn its tokens [first, last).

    `faithful`: decoding every turn's tokens gives back the turn, white space apart.
    """

    ids: Ids
    spans: tuple[tuple[int, int], ...]
    faithful: bool


@dataclass(frozen=True, slots=True)
class _Text:
    """One conversation as text, and the characters [start, end) of each assistant turn to be learnt."""

    text: str
    spans: tuple[tuple[int, int], ...]


class Unfit(Exception):
    """This row cannot be trained on; the arguments are reason and detail, and False where that is no failure."""


class Renderer:
    """A tokenizer with the template in force: its own, `plain`, or a jinja file's.

    Raises UsageError when there is no template, or no such file, or the tokenizer gives no offsets.
    """

    def __init__(self, tokenizer: Any, chat_template: str | None = None) -> None:
        if not tokenizer.is_fast:
            raise UsageError(f"tokenizer {type(tokenizer).__name__} gives no character offsets: use its fast version")
        self._tokenizer = tokenizer
        self._template = _template(tokenizer, chat_template)
        specials = "|".join(re.escape(token) for token in tokenizer.all_special_tokens)
        self._special = re.compile(specials or r"(?!)")

    def text(self, conversation: Conversation) -> _Text:
        """The conversation as the template writes it. Raises Unfit."""
        if not conversation.turns:
            raise Unfit("no-target", "no assistant turn")
        for message in conversation.messages:
            if found := self._special.search(message.content):
                raise Unfit("special-token", f"the text of a turn holds {found.group()!r}")
            if not message.content.isascii() and re.search(r"[\ud800-\udfff]", message.content):
                raise Unfit("not-unicode", "the text of a turn holds half of a surrogate pair")
        chat = [{"role": m.role, "content": m.content} for m in conversation.messages]
        text = self._apply(chat)
        return _Text(text, tuple(self._span(chat, text, turn) for turn in conversation.turns))

    def tokens(self, texts: Sequence[_Text]) -> Iterator[Tokens]:
        """Token ids of each text, equal ones made once, together by all threads of the tokenizer."""
        known = dict(self._tokenised(list(dict.fromkeys(texts))))
        return (known[text] for text in texts)

    def _tokenised(self, texts: Sequence[_Text]) -> Iterator[tuple[_Text, Tokens]]:
        if not texts:
            return
        # not verbose: it warns of long texts, which become drops
        encodings = self._tokenizer([t.text for t in texts], add_special_tokens=False, verbose=False).encodings
        for text, encoding in zip(texts, encodings, strict=True):
            ids = np.array(encoding.ids, dtype=np.int32)
            spans = tuple((_reaching(encoding, a, len(text.text)), _from(encoding, b, len(text.text)))
                          for a, b in text.spans)
            self._check_bos(ids, text)
            yield text, Tokens(ids, spans, self._faithful(text, encoding.ids, spans))

    def _apply(self, chat: list[dict[str, str]], generation: bool = False) -> str:
        from jinja2 import TemplateError

        try:
            return str(self._tokenizer.apply_chat_template(
                chat, tokenize=False, chat_template=self._template, add_generation_prompt=generation
            ))
        except TemplateError as error:
            roles = ", ".join(m["role"] for m in chat)
            raise Unfit("template", f"the chat template refuses turns ({roles}): {error}") from error

    def _span(self, chat: list[dict[str, str]], text: str, turn: int) -> tuple[int, int]:
        """Where assistant turn `turn` is: after its generation prompt, up to its end-of-turn mark."""
        content = chat[turn]["content"].strip()
        if not content:
            raise Unfit("no-target", "an assistant turn is empty")
        head = self._apply(chat[:turn], generation=True) if turn else ""
        whole = text if turn + 1 == len(chat) else self._apply(chat[: turn + 1])
        if not text.startswith(head) or not text.startswith(whole) or content not in whole[len(head):]:
            raise Unfit("template", f"the chat template writes turn {turn} differently once more turns follow")
        end = len(whole.rstrip())
        # white space that the template adds after its end-of-turn mark is never sampled by an engine
        return len(head), end if not whole[:end].endswith(content) else len(whole)

    def _faithful(self, text: _Text, ids: list[int], spans: Sequence[tuple[int, int]]) -> bool:
        written = (self._tokenizer.decode(ids[first:last]) for first, last in spans)
        return all(_squash(text.text[a:b]) in _squash(out) for (a, b), out in zip(text.spans, written, strict=True))

    def _check_bos(self, ids: Ids, text: _Text) -> None:
        bos = self._tokenizer.bos_token_id
        count = int((ids == bos).sum()) if bos is not None else 0
        if count > 1 and bos != self._tokenizer.eos_token_id:
            raise UsageError(f"the chat template writes {count} BOS tokens: {text.text[:60]!r}; it must write one")


def named_template(name: str) -> str:
    """The template called `plain`, or a jinja file's. Raises UsageError when it is neither."""
    if name == "plain":
        return PLAIN
    try:
        return Path(name).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"chat_template {name!r}: neither 'plain' nor a readable jinja file ({error})") from error


def _template(tokenizer: Any, name: str | None) -> str:
    if name is not None:
        return named_template(name)
    if not tokenizer.chat_template:
        found = tokenizer.name_or_path or type(tokenizer).__name__
        raise UsageError(f"the tokenizer of {found} has no chat template: set chat_template to 'plain' "
                         "(prompt, completion, EOS) or to the path of a jinja file")
    return str(tokenizer.get_chat_template())


def _reaching(encoding: Any, place: int, length: int) -> int:
    """The first token that reaches beyond a place in the text.

    One across the border belongs to the answer that starts there: the prompt alone would not have made it.
    """
    found = (encoding.char_to_token(i) for i in range(place, length))  # white space may be in no token
    return next((token for token in found if token is not None), len(encoding))


def _from(encoding: Any, place: int, length: int) -> int:
    """The first token that starts at a place in the text or later."""
    token = _reaching(encoding, place, length)
    return token + (token < len(encoding) and encoding.token_to_chars(token)[0] < place)


def _squash(text: str) -> str:
    return "".join(text.split())
