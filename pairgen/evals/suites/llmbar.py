"""LLMBar (arXiv 2310.07641): does a judge follow the instruction, or what only looks like it?

419 pairs: one natural set and four adversarial ones, where the worse answer is the more engaging one. The authors
average accuracy over both orders, per set, and the sets evenly.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

from pairgen.errors import UsageError, nearest
from pairgen.evals.benchmark import Estimate, EvalItem
from pairgen.evals.filepairs import FilePairs, labelled
from pairgen.evals.filerow import BadRow, Row
from pairgen.evals.items import PairItem
from pairgen.evals.official import Agreement, all_shown, either_order, llmbar_statistics, mixed
from pairgen.evals.said import Said
from pairgen.prompts import Prompt, shipped

ADVERSARIAL = ("neighbor", "gptinst", "gptout", "manual")
FOLDERS = {
    "natural": "LLMBar/Natural", "neighbor": "LLMBar/Adversarial/Neighbor", "gptinst": "LLMBar/Adversarial/GPTInst",
    "gptout": "LLMBar/Adversarial/GPTOut", "manual": "LLMBar/Adversarial/Manual",
    "case_base_9": "CaseStudy/Base_9", "case_base_10": "CaseStudy/Base_10", "case_constraint": "CaseStudy/Constraint",
    "case_negation": "CaseStudy/Negation", "case_normal": "CaseStudy/Normal",
    "faireval": "Processed/FairEval", "llmeval2": "Processed/LLMEval^2", "mtbench_human200": "Processed/MT-Bench",
}


class LLMBar(FilePairs):
    """The authors' `Dataset` folder, or a folder of natural.json, neighbor.json and so on; or one of the files.

    The five sets are read; a case study or another set of theirs when `subset` names it.
    """

    version: ClassVar[int] = 1
    PARTS: ClassVar[Mapping[str, tuple[str, ...]]] = {
        part: (f"{part}.json", f"{folder}/dataset.json", f"{folder.removeprefix('LLMBar/')}/dataset.json")
        for part, folder in FOLDERS.items()
    }
    GROUPS: ClassVar[tuple[str, ...]] = ("natural", *ADVERSARIAL)
    PARSER: ClassVar[str] = "llmbar"

    prompt: Prompt = shipped("judges/llmbar.md")

    def parts(self) -> tuple[str, ...]:
        if strange := next((name for name in self.subset if name not in self.PARTS), None):
            raise UsageError(f"{self.use}: no subset {strange!r}: {nearest(strange, self.PARTS)}")
        return tuple(part for part in self.PARTS if part in (self.subset or self.GROUPS))

    def items_of(self, row: Row) -> Sequence[PairItem]:
        group = row.part or row.text("subset", "set")
        if group not in self.PARTS:
            raise BadRow(f"{row.where}: no set {group!r} in LLMBar; have: {', '.join(self.PARTS)}")
        published = group not in self.GROUPS  # one answer of LLMEval^2 is empty
        answers = (row.text("output_1", empty=published), row.text("output_2", empty=published))
        label = row.choice("label", (1, 2))
        return [labelled(f"{group}/{row.place}", group, row.text("input"), answers, label)]

    def official(self, rows: Sequence[EvalItem]) -> dict[str, Estimate]:
        """Per set the average over both orders and the authors' four shares; evenly over sets where all are there."""
        found = super().official(rows)
        averages = {}
        for group in dict.fromkeys(row.group for row in rows):
            pairs = all_shown([row for row in rows if row.group == group])
            averages[group] = found[f"llmbar_{group}"] = either_order(pairs)
            told = [pair for pair in pairs if pair is not None]
            counts = llmbar_statistics(told)
            for name in ("correct_false", "correct_true", "correct_both", "equal"):
                share = Agreement(getattr(counts, name), counts.n).share
                found[f"llmbar_{group}_{name}"] = replace(share, unscored=len(pairs) - len(told))
        for name, groups in (("llmbar_adversarial", ADVERSARIAL), ("llmbar_overall", self.GROUPS)):
            parts = [averages[group] for group in groups if group in averages and averages[group].n]
            if len(parts) == len(groups):
                found[name] = mixed([(1.0, part) for part in parts])
        return found

    def said(self, row: Row) -> list[Said] | None:
        """A row of all runs as one table (winner_orig, winner_swap), or of an evaluator's `result.json`."""
        if "winner_orig" in row.value:
            part = row.choice("set", tuple(self.PARTS))
            if part not in self.parts():
                return []
            key = f"{part}/{row.given('idx')}"
            pairs = (("file", row.given("winner_orig")), ("exchanged", row.given("winner_swap")))
            return [_winner(row, key, order, winner) for order, winner in pairs]
        return list(self._judged(row)) if "results" in row.value else None

    def _judged(self, row: Row) -> Iterator[Said]:
        """One judge's two completions; which set it judged is in the file's name, as in natural__GPT-4__CoT.json."""
        name = Path(row.where.partition("[")[0]).name.partition("__")[0]
        if name not in self.PARTS:
            raise BadRow(f"{row.where}: which set is this? call the file natural__JUDGE.json, neighbor__JUDGE.json ...")
        for order, swap in (("file", "swap = False"), ("exchanged", "swap = True")):
            last = row.given("results")[-1]
            if not isinstance(last, Mapping) or swap not in last:
                raise BadRow(f"{row.where}: results has no {swap!r}")
            shown = last[swap]
            if "completion" in shown:
                text, finish = (*shown["completion"], "stop")[:2]
                yield Said(row.where, f"{name}/{row.place}", order, text=str(text), finish=str(finish))
            else:
                yield _winner(row, f"{name}/{row.place}", order, shown.get("winner"))


def _winner(row: Row, key: str, order: str, found: object) -> Said:
    names = {"1": "first", "2": "second", "": ""}
    text = "" if found is None else str(found)
    if text not in names:
        raise BadRow(f"{row.where}: winner is {text!r}, not 1, 2 or empty")
    return Said(row.where, key, order, winner=names[text])


BENCHMARK = LLMBar
