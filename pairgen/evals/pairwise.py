"""Models that see both answers and say which is better: a classifier of two labels, or any command.

They are shown every pair in both orders, like a judge, so that their numbers say what the order did.
"""

import json
import shlex
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

from pairgen.errors import UsageError
from pairgen.evals.benchmark import EvalItem, EvalReply
from pairgen.evals.items import PairItem
from pairgen.fingerprint import JSON, folder_digest, identity
from pairgen.prompts import PromptFile, load_prompt
from pairgen.records import ORDERS, Message, Messages, Order, gold_label

ANSWERS = ("A", "B", "tie")
ITEMS = 256
"""Pairs compared together."""
LINE = 1 << 20
"""Characters of a line that a command may write."""


@dataclass(frozen=True, slots=True)
class Shown:
    """A conversation and two answers, in the order in which they are shown."""

    prompt: Messages
    a: str
    b: str


@dataclass(frozen=True, slots=True)
class Compared:
    """Which is better: A, B or tie, and with what probability; or None and why nothing was said."""

    answer: str | None
    confidence: float | None = None
    status: str = "ok"


class Comparer(Protocol):
    """What compares two answers."""

    @property
    def name(self) -> str:
        """What it is called in results."""

    @property
    def identity(self) -> JSON:
        """Everything that decides what it says."""

    def compare(self, shown: Sequence[Shown]) -> list[Compared]:
        """What it says of each."""


def compare_rows(items: Sequence[PairItem], comparer: Comparer) -> Iterator[EvalItem]:
    """Each pair with what was said of it in both orders, in order."""
    if strange := next((item for item in items if not isinstance(item, PairItem)), None):
        raise UsageError(f"{comparer.name} compares two answers, and this suite has {type(strange).__name__} items")
    left = iter(items)
    while some := list(islice(left, ITEMS)):
        said = iter(comparer.compare([_shown(item, order) for item in some for order in ORDERS]))
        for item in some:
            yield item.row([_reply(item, order, next(said)) for order in ORDERS])


def _shown(item: PairItem, order: Order) -> Shown:
    a, b = (item.chosen, item.rejected) if order == "chosen_first" else (item.rejected, item.chosen)
    return Shown(item.messages or (Message("user", item.instruction),), a, b)


def _reply(item: PairItem, order: Order, said: Compared) -> EvalReply:
    gold = "tie" if item.tie else gold_label(order)
    return EvalReply("greedy", order, 0, "", said.answer, said.status, gold, 0, confidence=said.confidence)


@dataclass(frozen=True)
class PairClassifier:
    """A sequence classifier of two labels, the first for "A is better"; `prompt` says how it is shown a pair.

    Texts go through the tokenizer's chat template where it has one. A pair that does not fit is not cut: it
    counts as one that nothing was said of.
    """

    folder: Path
    prompt: PromptFile | None = None

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def identity(self) -> JSON:
        return {"scorer": "pair-classifier", "weights": folder_digest(self.folder), "prompt": identity(self._prompt)}

    def compare(self, shown: Sequence[Shown]) -> list[Compared]:
        return [self._compared(self._ids(one)) for one in shown]

    @cached_property
    def _prompt(self) -> PromptFile:
        return self.prompt or load_prompt("judge_verdict_only.md")

    @cached_property
    def _tokenizer(self) -> Any:
        from transformers import AutoTokenizer

        return AutoTokenizer.from_pretrained(self.folder)

    @cached_property
    def _model(self) -> Any:
        import torch
        from transformers import AutoConfig, AutoModelForSequenceClassification

        config = AutoConfig.from_pretrained(self.folder)
        named = (config.architectures or ["a model without a name"])[0]
        if "SequenceClassification" not in named:  # its head would be made of random numbers
            raise UsageError(f"{self.folder}: not a classifier but {named}; a causal model is a judge, --model")
        if config.num_labels != 2:
            raise UsageError(f"{self.folder}: a classifier of {config.num_labels} labels; of pairs it has two, "
                             "the first for A")
        device = "cuda" if torch.cuda.is_available() else "cpu"
        return AutoModelForSequenceClassification.from_pretrained(self.folder, config=config).to(device).eval()

    def _ids(self, shown: Shown) -> list[int]:
        asked = "\n\n".join(turn.content for turn in shown.prompt)
        turns = self._prompt.render(instruction=asked, answer_a=shown.a, answer_b=shown.b)
        if not self._tokenizer.chat_template:
            return list(self._tokenizer("\n\n".join(turn.content for turn in turns))["input_ids"])
        chat = [{"role": turn.role, "content": turn.content} for turn in turns]
        return list(self._tokenizer.apply_chat_template(chat, tokenize=True)["input_ids"])

    def _compared(self, ids: list[int]) -> Compared:
        import torch

        if len(ids) > self._model.config.max_position_embeddings:
            return Compared(None, status="too-long")
        with torch.no_grad():
            logits_2 = self._model(torch.tensor([ids], device=self._model.device)).logits[0].float()
        odds = logits_2.softmax(0).tolist()
        if odds[0] == odds[1]:
            return Compared("tie", odds[0])
        return Compared("A" if odds[0] > odds[1] else "B", max(odds))


@dataclass(frozen=True)
class Command:
    """A command of the user's. It reads a JSON object a line, {"prompt": [turns], "a": ..., "b": ...}, and
    writes one a line in the same order: {"winner": "A" | "B" | "tie" | null, "confidence": 0.8}.
    """

    line: str

    @property
    def name(self) -> str:
        return Path(self._words[-1]).name

    @property
    def identity(self) -> JSON:
        return {"scorer": "command", "line": self.line}

    def compare(self, shown: Sequence[Shown]) -> list[Compared]:
        found = self._answers([json.dumps(_asked(one)) for one in shown])
        if len(found) != len(shown):
            more = "more than " if len(found) > len(shown) else ""
            wrote = f"wrote {more}{min(len(found), len(shown))} lines for {len(shown)} pairs"
            raise self._wrong(f"{wrote}; one a pair is needed")
        return [self._read(number, line) for number, line in enumerate(found, 1)]

    @property
    def _words(self) -> list[str]:
        try:
            found = shlex.split(self.line)
        except ValueError as error:
            raise self._wrong(f"cannot be read ({str(error).lower()})") from error
        if not found:
            raise self._wrong("is empty")
        return found

    def _answers(self, lines: Sequence[str]) -> list[str]:
        """What it writes to these lines: at most one line more than there are, however much it would write."""
        with tempfile.TemporaryFile("w+") as asked, tempfile.TemporaryFile("w+", errors="replace") as complaints:
            asked.write("\n".join(lines) + "\n")
            asked.seek(0)
            try:
                process = subprocess.Popen(
                    self._words, stdin=asked, stdout=subprocess.PIPE, stderr=complaints, text=True, errors="replace"
                )
            except OSError as error:
                raise self._wrong(f"cannot be run ({error.strerror})") from error
            with process:
                assert process.stdout is not None
                reader = iter(lambda: process.stdout.readline(LINE) if process.stdout else "", "")
                found = [line.rstrip("\n") for line in islice(reader, len(lines) + 1)]
                if len(found) > len(lines):
                    process.kill()
                    return found
            if process.returncode != 0:
                complaints.seek(0)
                said = (complaints.read(LINE).strip().splitlines() or ["it said nothing"])[-1]
                raise self._wrong(f"left with code {process.returncode} ({said[:200]})")
            return found

    def _read(self, number: int, line: str) -> Compared:
        try:
            cells = json.loads(line)
            winner, confidence = cells["winner"], cells.get("confidence")
        except KeyError as error:
            raise self._wrong(f"line {number} of its output names no winner: {line[:60]!r}") from error
        except (ValueError, TypeError, AttributeError) as error:
            raise self._wrong(f"line {number} of its output is no JSON object: {line[:60]!r}") from error
        if winner not in (*ANSWERS, None):
            raise self._wrong(f"line {number}: winner {winner!r:.40}; A, B, tie or null")
        return Compared(winner, confidence, "ok" if winner is not None else "none")

    def _wrong(self, what: str) -> UsageError:
        return UsageError(f"--command {self.line!r}: {what}")


def _asked(shown: Shown) -> dict[str, Any]:
    prompt = [{"role": turn.role, "content": turn.content} for turn in shown.prompt]
    return {"prompt": prompt, "a": shown.a, "b": shown.b}
