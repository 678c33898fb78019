"""Chat turns out of whatever a cell holds: message lists, ShareGPT lists, HH transcripts, template text.

What training cannot read (tool calls, images, turns without content) is refused by name, never skipped.
"""

import json
import re
from typing import Any

from pairgen.errors import UsageError, nearest
from pairgen.records import Message, Messages

ROLES = {
    "system": "system", "developer": "system", "user": "user", "human": "user", "assistant": "assistant",
    "gpt": "assistant", "chatgpt": "assistant", "bing": "assistant", "bard": "assistant", "model": "assistant",
}
TOOLS = frozenset({"tool", "function", "function_call", "function-call", "observation", "tool_response", "ipython"})
HH = re.compile(r"\n\n(Human|Assistant):")
LLAMA = re.compile(r"<\|start_header_id\|>(\w+)<\|end_header_id\|>\n\n")
LLAMA_END = re.compile(r"(<\|eot_id\|>|<\|end_of_text\|>)\s*$")


class NoRow(Exception):
    """This record is no training row; the arguments are reason and detail."""


def turns(value: Any, where: str) -> Messages:
    """The turns of a conversation, a single turn being one of its own. Raises UsageError for what is none."""
    value = unpacked(value)
    if isinstance(value, dict) and is_turn(value):
        value = [value]
    if isinstance(value, str):
        return _transcript(value, where)
    if not isinstance(value, list) or not all(isinstance(turn, dict) for turn in value):
        raise UsageError(f"{where} is neither text nor a list of turns with role and content: {value!r:.60}")
    return tuple(_turn(turn, f"{where}[{index}]") for index, turn in enumerate(value))


def reply(value: Any, prompt: Messages, where: str) -> Messages:
    """What answers a prompt: text as one assistant turn, or the turns of a list. Raises NoRow without any."""
    value = unpacked(value)
    if isinstance(value, str):
        if is_transcript(value):
            return _transcript(value, where)
        return (Message("assistant", LLAMA_END.sub("", value)),)
    answer = turns(value, where)
    if not answer or answer[-1].role != "assistant":
        raise NoRow("no-answer", f"{where.rpartition(' ')[2]} does not end with an assistant turn")
    return answer


def unpacked(value: Any) -> Any:
    """The turns in a text that is a JSON list of turns and nothing else, as CSV files keep them; else the value."""
    if not isinstance(value, str) or not (value.lstrip().startswith("[") and value.rstrip().endswith("]")):
        return value
    try:
        found = json.loads(value)
    except (ValueError, RecursionError):
        return value
    return found if found and all(isinstance(turn, dict) and is_turn(turn) for turn in found) else value


def is_turn(value: dict[str, Any]) -> bool:
    """Whether a mapping has the keys of a turn: who, and what they say."""
    return ("role" in value and "content" in value) or ("from" in value and "value" in value)


def split_pair(chosen: Messages, rejected: Messages) -> tuple[Messages, Messages, Messages]:
    """Two conversations as the prompt they share and the answers they end with. Raises NoRow."""
    for name, side in (("chosen", chosen), ("rejected", rejected)):
        if not side or side[-1].role != "assistant":
            raise NoRow("no-answer", f"{name} does not end with an assistant turn")
    shorter = min(len(chosen), len(rejected))
    shared = next((i for i in range(shorter) if chosen[i] != rejected[i]), shorter)
    if shared == shorter:  # one goes on where the other ends: the answers begin with its last reply
        shared -= 1
    if shared == 0 or chosen[shared].role != "assistant" or rejected[shared].role != "assistant":
        raise NoRow("no-shared-prompt", f"the two conversations part at turn {shared}, not at an answer")
    return chosen[:shared], chosen[shared:], rejected[shared:]


def is_transcript(text: str) -> bool:
    """Whether a text is a transcript as in HH-RLHF."""
    return HH.match(text) is not None


def llama_prompt(text: str, where: str) -> Messages:
    """A prompt of the Self-Taught release: text in the Llama-3 chat template, or else one user turn."""
    parts = LLAMA.split(text)
    if len(parts) == 1:
        return (Message("user", text),)
    pairs = zip(parts[1::2], parts[2::2], strict=True)
    messages = tuple(_turn({"role": r, "content": LLAMA_END.sub("", c)}, where) for r, c in pairs)
    return messages[:-1] if messages[-1] == Message("assistant", "") else messages


def _transcript(text: str, where: str) -> Messages:
    parts = HH.split(text)
    if len(parts) == 1 or parts[0].strip():
        raise UsageError(f"{where} is text without turns ({text[:40]!r}): give a column `prompt`, or message lists, "
                         r"or transcripts of '\n\nHuman: ...\n\nAssistant: ...'")
    roles = {"Human": "user", "Assistant": "assistant"}
    return tuple(Message(roles[who], said.strip()) for who, said in zip(parts[1::2], parts[2::2], strict=True))


def _turn(turn: dict[str, Any], where: str) -> Message:
    name = str(turn.get("role", turn.get("from"))).lower()
    if name in TOOLS or turn.get("tool_calls"):
        raise UsageError(f"{where} calls or answers a tool, which training does not read: leave such rows out")
    if name not in ROLES:
        raise UsageError(f"{where} has the role {name!r}: {nearest(name, ROLES)}")
    return Message(ROLES[name], _content(turn.get("content", turn.get("value")), where))


def _content(value: Any, where: str) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, list) and value and all(isinstance(p, dict) and p.get("type") == "text" for p in value):
        return "".join(str(part.get("text", "")) for part in value)
    found = "no content" if value is None else f"content that is not text ({value!r:.40})"
    raise UsageError(f"{where} has {found}: every turn needs a text")
