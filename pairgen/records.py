"""The rows that flow through pairgen: frozen, typed, and nothing hidden in a free-form dict.

Ids are hashes of content, so the same input gives the same id in any order, on any machine.
Chosen and rejected live in one row; a pair is never two rows matched by index.
"""

from dataclasses import dataclass
from hashlib import sha256
from typing import Literal

Order = Literal["chosen_first", "rejected_first"]
ORDERS: tuple[Order, Order] = ("chosen_first", "rejected_first")


@dataclass(frozen=True, slots=True)
class Message:
    """One chat turn."""

    role: str
    content: str


Messages = tuple[Message, ...]


@dataclass(frozen=True, slots=True)
class Sampled:
    """How a text was drawn: the sampling options sent with the request and the seed of the sample."""

    temperature: float
    top_p: float
    max_tokens: int
    seed: int


@dataclass(frozen=True, slots=True)
class Response:
    """One sampled answer. `finish` is the engine's finish reason, `tokens` its length in tokens.

    `score` is what its source gives it, on the source's scale; `critique` what a critic said of it.
    """

    text: str
    model: str
    finish: str
    tokens: int
    score: float | None = None
    critique: str | None = None
    sampled: Sampled | None = None


@dataclass(frozen=True, slots=True)
class Instruction:
    """What a user asked. `category`, `complexity` (1-10) and `length` (bucket a-e) come from the tagger.

    `answers` are the ones its source gives, scored or not; `reference` is the source's solution of a
    task that can be checked.
    """

    id: str
    messages: Messages
    source: str
    category: str | None = None
    complexity: int | None = None
    length: str | None = None
    answers: tuple[Response, ...] = ()
    reference: str | None = None

    @property
    def text(self) -> str:
        """The last user turn: what a judge is shown and what a rewriter rewrites."""
        return next(m.content for m in reversed(self.messages) if m.role == "user")


@dataclass(frozen=True, slots=True)
class Candidates:
    """An instruction and the answers sampled for it, in sample order."""

    id: str
    instruction: Instruction
    responses: tuple[Response, ...]


@dataclass(frozen=True, slots=True)
class Contrast:
    """How far apart two texts are.

    `jaccard` is over sets of words and punctuation marks, in [0, 1]; `levenshtein` counts character edits;
    `length_ratio` is len(rejected) / len(chosen) in characters, and the two lengths stand beside it.
    """

    jaccard: float
    levenshtein: int
    length_ratio: float
    chosen_chars: int | None = None
    rejected_chars: int | None = None


@dataclass(frozen=True, slots=True)
class Pair:
    """Two answers to one instruction; `construction` says why chosen should be the better one.

    `modified` is the similar instruction that `rejected` really answers, where there is one.
    `chosen_model` and `rejected_model` name the engine role (or, of given answers, the model) that wrote
    each side; `raw` keeps the reply as received. `rationale` is the reviser's or judge's reasoning,
    `order` how the two were shown to a judge that picked, `rounds` how often chosen was revised,
    starting from rejected. Scores are on the scale of their source.
    """

    id: str
    instruction: Instruction
    chosen: str
    rejected: str
    construction: str
    modified: str | None
    chosen_model: str
    rejected_model: str
    contrast: Contrast
    raw: str
    rationale: str | None = None
    order: str | None = None
    rounds: int | None = None
    chosen_score: float | None = None
    rejected_score: float | None = None
    chosen_sampled: Sampled | None = None
    rejected_sampled: Sampled | None = None


@dataclass(frozen=True, slots=True)
class Judgment:
    """One sampled judgment of a pair in one order.

    `gold` is the label the construction implies ("A" or "B"), `verdict` what the judge said.
    `status` is ok | tie | multiple | none | truncated; only `ok` carries a verdict.
    `kept` marks the judgment the filter selected for training.
    """

    order: Order
    sample: int
    text: str
    verdict: str | None
    status: str
    gold: str
    tokens: int
    kept: bool = False

    @property
    def agrees(self) -> bool:
        """Whether the verdict is the one the construction implies."""
        return self.verdict == self.gold


@dataclass(frozen=True, slots=True)
class Judged:
    """A pair with every judgment of it."""

    id: str
    pair: Pair
    judgments: tuple[Judgment, ...]


@dataclass(frozen=True, slots=True)
class Demonstration:
    """A supervised row: the loss is on assistant turns. `kind` is judgment | verdict-only | replay."""

    id: str
    messages: Messages
    kind: str
    pair_id: str | None = None
    order: str | None = None


@dataclass(frozen=True, slots=True)
class Preference:
    """A preference row in the conversational format: prompt turns, then one assistant turn each.

    `reason` says why the rejected side is worse (wrong | tie | multiple | none | truncated). Scores, on
    whatever scale their source has, rate the two sides and what the policy itself would write;
    `gold` is a third, best answer that some objectives imitate.
    """

    id: str
    prompt: Messages
    chosen: Messages
    rejected: Messages
    kind: str
    reason: str
    pair_id: str | None = None
    order: str | None = None
    chosen_score: float | None = None
    rejected_score: float | None = None
    policy_score: float | None = None
    gold: Messages | None = None


@dataclass(frozen=True, slots=True)
class Labelled:
    """An unpaired row: one completion of a prompt, desirable or not (the KTO format)."""

    id: str
    prompt: Messages
    completion: Messages
    desirable: bool
    kind: str


@dataclass(frozen=True, slots=True)
class Rollout:
    """A verifiable row for online RL: the prompt and the verdict that earns the reward."""

    id: str
    prompt: Messages
    answer: str
    pair_id: str
    order: str


@dataclass(frozen=True, slots=True)
class Drop:
    """A row that left the pipeline, kept with its reason.

    `failed` separates rows that went wrong (parse, refusal) from rows filtered on purpose.
    `raw` is the reply that could not be used, as received.
    """

    row_id: str
    stage: str
    reason: str
    detail: str = ""
    failed: bool = True
    raw: str | None = None


Row = Instruction | Candidates | Pair | Judged | Demonstration | Preference | Labelled | Rollout


def content_id(*parts: str) -> str:
    """A 16-digit hash of the parts; lengths are hashed too, so ("ab","c") differs from ("a","bc")."""
    hasher = sha256()
    for part in parts:
        data = part.encode("utf-8", "surrogatepass")
        hasher.update(f"{len(data)}:".encode() + data)
    return hasher.hexdigest()[:16]


def messages_id(messages: Messages) -> str:
    """The content id of a conversation."""
    return content_id(*(text for m in messages for text in (m.role, m.content)))


def gold_label(order: Order) -> str:
    """The slot that holds the chosen answer: A when it is shown first."""
    return "A" if order == "chosen_first" else "B"
