"""One sitting at a run of an experiment: everything that is not done, and the report at the end."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from pairgen import fs
from pairgen.loop.config import Experiment
from pairgen.loop.history import Record
from pairgen.loop.run import Outcome, run_experiment
from pairgen.loop.steps import program
from pairgen.pipeline.sitting import CONFIG, Sitting

if TYPE_CHECKING:
    from pairgen.report.study_summary import StudySummary
    from pairgen.report.summary import RunSummary

__all__ = ["CONFIG", "Session", "write_report"]


class Session(Sitting):
    """A sitting whose steps are those of an experiment. A config that cannot work is refused first."""

    def __init__(
        self, folder: Path, experiment: Experiment, *, config: str, command: str, budget: float | None = None
    ) -> None:
        self.experiment, self.plan = experiment, program(experiment)
        super().__init__(folder, experiment, self.plan.steps, config=config, command=command, budget=budget)

    async def run(self, told: Callable[[Record], None]) -> Outcome:
        """Run everything that is not done. Raises what it was asked to stop with."""
        return await self.work(lambda runner: run_experiment(self.experiment, self.plan, runner, told))

    def write_report(self, outcome: Outcome) -> Path:
        """Write the self-contained HTML report; its path."""
        return write_report(self.folder, self.summary(outcome) if self.experiment.compare is None else self.study())

    def study(self) -> "StudySummary":
        """The numbers of a comparison of objectives, from its sealed steps."""
        from pairgen.loop.study import study

        return study(self.experiment, self.plan, self.folder, command=self.command, config=self.config)

    def summary(self, outcome: Outcome) -> "RunSummary":
        """The run's numbers, from its sealed steps."""
        from pairgen.loop.summary import summarise

        return summarise(
            self.experiment, self.plan, self.folder, outcome.iterations, command=self.command,
            config=self.config, stopped=outcome.stopped,
        )


def write_report(run: Path, summary: "RunSummary | StudySummary") -> Path:
    """Write a run's report into its folder; its path."""
    from pairgen.report.run import run_report
    from pairgen.report.study import study_report
    from pairgen.report.summary import RunSummary

    path = run / "report.html"
    text = run_report(summary) if isinstance(summary, RunSummary) else study_report(summary)
    fs.write_atomic(path, text.encode("utf-8", "replace"))
    return path
