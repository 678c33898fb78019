"""`pairgen audit --model ... --judge ...` and `pairgen audit --drill`: what needs a model, or plays one."""

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pairgen.audit.drill import Check
    from pairgen.audit.model import Models
    from pairgen.engine import EngineConfig

FAILED = "the drill found labels that come out wrong: do not trust what this installation makes"


@dataclass(frozen=True, slots=True)
class Given:
    """The options that name models."""

    policy: str | None
    reference: str | None
    judge: str | None
    prompt: str | None
    engine: str
    base_url: str | None
    advise: bool
    pairs: int
    budget: float | None

    def models(self) -> "Models | None":
        """Who reads the pairs; None where nobody was named. Raises UsageError."""
        from pairgen.audit.model import Models
        from pairgen.cli.options import model_at
        from pairgen.errors import UsageError

        if self.policy is None and (self.reference or self.advise):
            raise UsageError("--reference and --advise go with --model, the policy that reads the pairs")
        if self.judge is None and (self.prompt or self.base_url or self.budget is not None):
            raise UsageError("--prompt, --base-url and --budget go with --judge, the model that is asked")
        if self.policy is None and self.judge is None:
            return None
        return Models(
            policy=model_at(self.policy) if self.policy else None,
            reference=model_at(self.reference) if self.reference else None,
            judge=self._judge() if self.judge else None, prompt=self.prompt or "judge.md", sample=self.pairs,
            advise=self.advise, engine=self.engine, budget=self.budget,
        )

    def _judge(self) -> "EngineConfig":
        from pairgen.pipeline.config import parse_plugin, resolve_auto

        use = "openai" if self.base_url and self.engine == "auto" else self.engine
        tree = {"use": use, "model": self.judge} | ({"base_url": self.base_url} if self.base_url else {})
        found: EngineConfig = parse_plugin("pairgen.engines", "ENGINE", resolve_auto(tree), "--judge")
        return found


def run_drill(as_json: bool) -> None:
    """Run the drill and print each check. Raises FailedRows where one does not hold."""
    from pairgen.audit.drill import drill
    from pairgen.errors import FailedRows

    with tempfile.TemporaryDirectory(prefix="pairgen-drill-") as folder:
        checks = drill(Path(folder) / "drill", lambda check: None if as_json else print(_line(check)))
    failed = sum(not check.held for check in checks)
    if as_json:
        print(json.dumps([{"name": c.name, "expected": c.expected, "found": c.found, "held": c.held} for c in checks]))
    else:
        print(f"{len(checks) - failed} of {len(checks)} planted things came out as they must")
    if failed:
        raise FailedRows(f"{FAILED} ({failed} of {len(checks)} checks)")


def _line(check: "Check") -> str:
    return f"ok    {check.name}" if check.held else f"WRONG {check.name}: {check.found}, must be {check.expected}"
