"""A training asked for on the command line: its parts, what is said of it, what is kept beside its checkpoint."""

import json
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pairgen.records import Drop
    from pairgen.train.config import Term
    from pairgen.train.loop import TrainResult
    from pairgen.train.read import Data
    from pairgen.train.settings import Settings

RECORD = "train.yaml"  # not .json: those are the model's own files, copied and counted with its weights


class Rows:
    """The rows of several data sets in turn, counted."""

    def __init__(self, sets: Sequence["Data"]) -> None:
        self.sets, self.count = sets, 0

    def __iter__(self) -> Iterator[Any]:
        for data in self.sets:
            for row in data.rows:
                self.count += 1
                yield row

    @property
    def drops(self) -> "list[Drop]":
        """Records that were no rows."""
        return [drop for data in self.sets for drop in data.drops]


@dataclass(frozen=True, slots=True)
class Own:
    """How the model's own answers are drawn, where they are needed."""

    samples: int
    engine: str


class Job:
    """What was asked for: how to train, on what, from which weights, to which folder."""

    def __init__(self, chosen: "Settings", rows: Rows, heldout: "Data | None", init: Path,
                 reference: Path | None, out: Path | None, own: Own, stages: int = 1) -> None:
        self.chosen, self.rows, self.heldout, self.own, self.stages = chosen, rows, heldout, own, stages
        self.init, self.reference, self._out = init, reference, out
        self.unscored: list[Drop] = []

    @property
    def out(self) -> Path:
        """The folder of the checkpoint."""
        assert self._out is not None
        return self._out

    def said(self) -> list[str]:
        """What was recognised and chosen, a line each."""
        from pairgen.fingerprint import identity

        lines = [f"{data.path}: {data.format}" for data in self.rows.sets]
        lines += [f"held out: {self.heldout.path}: {self.heldout.format}"] if self.heldout else []
        lines.append(self._recipe())
        if preset := self.chosen.preset:
            values: Any = identity(self.chosen.config)
            left = [f"{field} {values[field]}" if field in values else field for field in self.chosen.left_open]
            lines.append(f"preset: {preset.source}")
            lines += [f"not stated there, so as by default: {', '.join(left)}"] if left else []
            lines += [f"different here: {difference}" for difference in preset.differs]
        return lines

    def _recipe(self) -> str:
        """The objective and how fast, on one line."""
        config = self.chosen.config
        terms = " + ".join(_term(term) for term in config.objective)
        steps = f", at most {config.max_steps} steps" if config.max_steps else ""
        return (f"objective: {terms}; {config.optimizer} at {config.learning_rate:g}, {config.schedule}, "
                f"{config.batch_size} rows a step, {config.epochs} epochs{steps}")

    def drops(self, result: "TrainResult") -> "list[Drop]":
        """Everything that was read and not trained on."""
        return [*self.rows.drops, *self.unscored, *result.drops]

    @property
    def chooses(self) -> bool:
        """Whether each pair chooses its anchor, for which it must be scored."""
        return any(term.use == "apo-auto" for term in self.chosen.config.objective)

    @cached_property
    def identity(self) -> str:
        """The digest of what the weights depend on."""
        from pairgen.fingerprint import digest

        return digest(self.parts)

    @cached_property
    def parts(self) -> dict[str, Any]:
        """Everything that the weights depend on, as it was when it was first asked for."""
        from pairgen.fingerprint import folder_digest, identity

        held = self.heldout.identity if self.heldout else None
        judge = folder_digest(self.reference) if self.reference else None
        return {
            "config": identity(self.chosen.config), "data": [data.identity for data in self.rows.sets], "held": held,
            "model": folder_digest(self.init), "reference": judge, "own": asdict(self.own) if self.chooses else None,
            "stages": self.stages,
        }

    def done(self) -> dict[str, Any] | None:
        """The record of this very training, if it is finished."""
        import yaml

        path = self.out / RECORD
        found = yaml.safe_load(path.read_text(encoding="utf-8")) if path.is_file() else None
        return found if found and found["identity"] == self.identity and any(self.out.glob("model*")) else None

    def record(self, result: "TrainResult") -> dict[str, Any]:
        """Keep beside the checkpoint what made it, and each drop with its reason."""
        import yaml

        from pairgen import __version__
        from pairgen.fs import write_atomic

        drops = self.drops(result)
        body = {
            "command": " ".join(["pairgen", *sys.argv[1:]]), "version": __version__, "identity": self.identity,
            "said": self.said(), "config": self.chosen.config.model_dump(mode="json"), "model": str(self.init),
            "reference": str(self.reference or self.init), "read": self.rows.count + len(self.rows.drops),
            "rows": self.rows.count - len(self.unscored) - len(result.drops), "drops": counted(drops),
            "failed": sum(drop.failed for drop in drops), "steps": result.steps, "tokens": result.tokens,
            "seconds": result.seconds, "metrics": result.metrics,
        }
        lines = "".join(json.dumps(asdict(drop)) + "\n" for drop in drops)
        write_atomic(self.out / "drops.jsonl", lines.encode("utf-8", "surrogatepass"))
        self._keep_template()
        write_atomic(self.out / RECORD, yaml.safe_dump(body, sort_keys=False, allow_unicode=True).encode())
        return body

    def _keep_template(self) -> None:
        """Give the checkpoints the template they were trained with, so that engines ask them in it."""
        from pairgen.fs import write_atomic
        from pairgen.train.render import named_template

        if self.chosen.config.chat_template is not None:
            text = named_template(self.chosen.config.chat_template)
            for weights in [*self.out.glob("*.safetensors"), *self.out.glob("*/model*.safetensors")]:
                write_atomic(weights.parent / "chat_template.jinja", text.encode())


def _term(term: "Term") -> str:
    """`0.2 bco-pair beta 0.1 delta 0`."""
    numbers = "".join(f" {name} {value:g}" for name, value in term.params.items() if isinstance(value, float))
    return ("" if term.weight == 1 else f"{term.weight:g} ") + term.use + numbers


def counted(drops: "Sequence[Drop]") -> dict[str, int]:
    """How many drops there are for each reason."""
    return dict(sorted(Counter(drop.reason for drop in drops).items()))
