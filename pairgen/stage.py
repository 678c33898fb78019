"""A stage turns rows into rows. Its fields are its YAML options; it never waits, opens or writes.

`RowStage.run` maps an iterator of rows to an iterator of rows and drops. `LLMStage.ask` says what to
request for a row and `LLMStage.read` makes rows or drops of the replies; both are pure, so each is
tested on one row with no engine.
"""

from collections.abc import Iterator
from hashlib import sha256
from typing import Any, ClassVar

from pydantic import Field, model_validator

from pairgen.engine import Completion, Frozen, Request
from pairgen.fingerprint import Runtime
from pairgen.prompts import PromptFile
from pairgen.records import Drop, Message

Out = Any
"""A row of the stage's `writes` class; stages narrow it in their own signatures."""


class Stage(Frozen):
    """What every stage has: an id in its pipeline, the row classes at both ends, and a version.

    `source` names the step it reads, the one above by default. Bump `version` when the behaviour
    changes: source code is not hashed. `fills` names the prompt holes the stage has values for and
    `parts` what it needs of a reply; a prompt with other holes or without those parts is refused.
    A stage that is `settled` draws with the pipeline's own seed in every iteration.
    """

    reads: ClassVar[type | None]
    writes: ClassVar[type]
    version: ClassVar[int] = 1
    fills: ClassVar[frozenset[str]] = frozenset()
    parts: ClassVar[frozenset[str]] = frozenset()
    settled: ClassVar[bool] = False

    id: Runtime[str] = Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")
    use: str
    source: Runtime[str | tuple[str, ...] | None] = None
    seed: int = 0

    def requests_per_row(self) -> float:
        """Requests a row costs, for the plan."""
        return 0

    @model_validator(mode="after")
    def _prompts_fit(self) -> "Stage":
        for name in type(self).model_fields:
            prompt = getattr(self, name)
            if isinstance(prompt, PromptFile):
                _check_prompt(f"{name}: {prompt.name}", prompt, self)
        return self


def _check_prompt(where: str, prompt: PromptFile, stage: Stage) -> None:
    if extra := sorted(set(prompt.vars) - stage.fills):
        has = sorted(stage.fills)
        raise ValueError(f"{where} has holes {extra} that {stage.use} cannot fill; it has {has}")
    if missing := sorted(stage.parts - prompt.parts):
        raise ValueError(f"{where} reads {sorted(prompt.parts)} from a reply; {stage.use} needs {missing}")


class RowStage(Stage):
    """Rows in, rows and drops out, in one pass. `whole` stages hold all rows before the first leaves."""

    whole: ClassVar[bool] = False

    def run(self, rows: Iterator[Any]) -> Iterator[Out | Drop]:
        """Consume the rows and yield rows and drops."""
        raise TypeError(f"stage {self.use!r} does not say how to run")


class LLMStage(Stage):
    """One round of requests per row, answered by the engine of that name.

    The name is identity: rows say which engine wrote them.
    """

    engine: str

    def ask(self, row: Any) -> list[Request]:
        """The requests of a row, in a fixed order. Pure."""
        raise TypeError(f"stage {self.use!r} does not say what to ask")

    def read(self, row: Any, replies: list[list[Completion]]) -> list[Out | Drop]:
        """The rows and drops made of the replies, `replies[i]` answering `ask(row)[i]`. Pure."""
        raise TypeError(f"stage {self.use!r} does not say how to read replies")

    def requests_per_row(self) -> float:
        return 1


REPAIR = (
    "This reply cannot be read: it does not have the form that was asked for. Give the same reply once more, in "
    "exactly that form and with nothing else."
)
"""What a reply without the form is sent back with. The form itself stands in the turn before it."""


class FormStage(LLMStage):
    """A stage that reads parts out of a reply. With `repair` a reply without them is sent back, once.

    The repaired reply takes the place of the first where it can be read. Where it cannot, the first is
    read, and what is dropped for it keeps both.
    """

    repair: bool = False

    def has_form(self, reply: Completion) -> bool:
        """Whether the parts can be read out of a reply, whatever they then say. Pure."""
        raise TypeError(f"stage {self.use!r} does not say what form its replies have")

    def repair_of(self, request: Request, sample: int, reply: Completion) -> Request | None:
        """What asks sample `sample` of `request` again; None where the reply has its form, was cut or is empty."""
        if not self.repair or reply.finish != "stop" or not reply.text.strip() or self.has_form(reply):
            return None
        messages = (*request.messages, Message("assistant", reply.text), Message("user", REPAIR))
        return Request(messages, request.sampling, request.seed + request.first + sample)


def row_seed(seed: int, *parts: str) -> int:
    """A 31-bit sampling seed from the stage's seed and the row's content: moving a row changes nothing."""
    text = "\x1f".join((str(seed), *parts))
    return int.from_bytes(sha256(text.encode("utf-8", "surrogatepass")).digest()[:4], "big") >> 1
