"""Direct assessment: answers with a rubric and the rating somebody gave them, in the columns of five benchmarks.

What a row is shows by its columns: Prometheus' Vicuna-Bench, MT-Bench and FLASK (`gpt4_score`, a prompt that is ready
to send), FeedbackBench (`orig_score`), BiGGen-Bench (`score_rubric` and ratings), UltraFeedback (`completions`), and
rows of one's own (`instruction`, `response`, `score`, and `rubric`, `reference` where there are any). Humans' ratings
are the label before GPT-4's; of three ratings by GPT-4 the label is their mean.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from statistics import fmean
from typing import Any, ClassVar

from pairgen.evals.benchmark import Estimate, EvalItem
from pairgen.evals.filepairs import parser_disagreement
from pairgen.evals.filerow import BadRow, Row, prompt_of, shown
from pairgen.evals.files import FromFile
from pairgen.evals.items import RatingItem
from pairgen.evals.rating import RatingBenchmark, rating_metrics

COEFFICIENTS = ("pearson", "spearman", "kendall")
PLACEHOLDER = "Hello World!"
"""What stands for every response in BiGGen-Bench's file of instances."""


class Ratings(FromFile[RatingItem], RatingBenchmark):
    """A file of rated answers. `low` and `high` bound the ratings of one's own rows; the benchmarks' are 1 to 5."""

    version: ClassVar[int] = 1
    SPLIT: ClassVar[str] = "train"
    PARSER: ClassVar[str] = "prometheus-rating"

    low: int = 1
    high: int = 5

    def key_of(self, row: Row) -> str:
        if row.has("response_source"):
            return f"{row.key('idx')}/{row.value['response_source']}"
        if row.has("capability"):
            model = row.value.get("response_model_name") or row.value.get("model_name")
            return "/".join(filter(None, (row.key("id"), str(model or ""))))
        return row.key("id", "idx")

    def items_of(self, row: Row) -> Sequence[RatingItem]:
        if row.has("completions"):
            return list(_ultrafeedback(row, self.key_of(row)))
        if row.has("orig_score"):
            return [_feedback(row, self.key_of(row))]
        if row.has("score_rubric"):
            return [_biggen(row, self.key_of(row))]
        if row.has("gpt4_score"):
            return [_prometheus(row, self.key_of(row))]
        instruction, messages = prompt_of(row, "instruction", "prompt")
        return [RatingItem(
            self.key_of(row), row.text("subset") if row.has("subset") else "all", instruction,
            row.text("response", "answer"), (row.number("score", self.low, self.high),), _help(row, "rubric"),
            _help(row, "reference"), self.low, self.high, messages=messages,
        )]

    def official(self, rows: Sequence[EvalItem]) -> dict[str, Estimate]:
        """Agreement with the second label (GPT-4's), where humans gave the first."""
        found = parser_disagreement(rows, self.PARSER)
        second = [replace(row, ratings=row.ratings[1:]) for row in rows if len(row.ratings) > 1]
        if not second:
            return found
        return found | {f"gpt4_{name}": value for name, value in rating_metrics(second).items() if name in COEFFICIENTS}


def _prometheus(row: Row, key: str) -> RatingItem:
    """A row of vicuna_eval.json, mt_bench_eval.json or flask_eval.json: the prompt is ready to send."""
    prompt = row.text("instruction")
    _, found, rest = prompt.partition("###Response to evaluate:")
    if not found:
        raise BadRow(f"{row.where}: instruction is no Prometheus prompt; it has no '###Response to evaluate:'")
    gold = [_mean(row, name, 1, 5) for name in ("human_score", "gpt4_score") if row.has(name)]
    group = row.text("category") if row.has("category") else "all"
    return RatingItem(key, group, prompt, rest.partition("###Reference Answer")[0].strip(), tuple(gold), ready=True)


def _feedback(row: Row, key: str) -> RatingItem:
    """A row of prometheus-eval/Feedback-Bench (or Feedback-Collection)."""
    parts = {"criteria": row.text("orig_criteria")} | {
        f"score{n}_description": row.text(f"orig_score{n}_description") for n in range(1, 6)
    }
    return RatingItem(
        key, "all", row.text("orig_instruction"), row.text("orig_response"), (row.number("orig_score", 1, 5),),
        rubric_text(parts), row.text("orig_reference_answer"),
    )


def _biggen(row: Row, key: str) -> RatingItem:
    """A row of BiGGen-Bench's results, rated by humans, GPT-4 or both."""
    answer = row.text("response")
    if answer == PLACEHOLDER:
        raise BadRow(f"{row.where}: response is the sample's {PLACEHOLDER!r}, which no model wrote: it cannot be rated")
    gold = [_mean(row, name, 1, 5) for name in ("human_score", "gpt4_score") if row.has(name)]
    if not gold:
        raise BadRow(f"{row.where}: neither human_score nor gpt4_score, so nothing to compare a rating with")
    system = row.text("system_prompt", empty=True) if row.has("system_prompt") else ""
    instruction = "\n\n".join(part for part in (system, row.text("input")) if part.strip())
    return RatingItem(
        key, row.text("capability"), instruction, answer, tuple(gold), rubric_text(_rubric(row)),
        row.text("reference_answer"), cluster=row.key("id"),
    )


def _ultrafeedback(row: Row, key: str) -> "list[RatingItem]":
    """A row of openbmb/UltraFeedback: every completion with the mean of its fine-grained ratings.

    Not `overall_score`: 2,628 of those were wrong until December 2023.
    """
    found = row.given("completions")
    if isinstance(found, str) or not isinstance(found, Sequence) or not all(isinstance(one, Mapping) for one in found):
        raise BadRow(f"{row.where}: completions is {shown(found)}, not a list of answers with their ratings")
    group = row.text("source") if row.has("source") else "all"
    return [
        RatingItem(
            f"{key}/{place}", group, row.text("instruction"), _response(row, place, one),
            (row.as_number(f"completions[{place}].fine-grained_score", one.get("fine-grained_score"), 1, 5),),
            cluster=key,
        )
        for place, one in enumerate(found)
    ]


def _response(row: Row, place: int, completion: Mapping[str, Any]) -> str:
    text = completion.get("response")
    if not isinstance(text, str) or not text.strip():
        raise BadRow(f"{row.where}: completions[{place}].response is {shown(text)}, not text")
    return text


def _mean(row: Row, column: str, low: float, high: float) -> float:
    """A rating, or the mean of several of the same answer."""
    found = row.given(column)
    values = list(found) if isinstance(found, Sequence) and not isinstance(found, str) else [found]
    if not values:
        raise BadRow(f"{row.where}: {column} is an empty list")
    return fmean(row.as_number(column, value, low, high) for value in values)


def _rubric(row: Row) -> Mapping[str, Any]:
    found = row.given("score_rubric")
    if isinstance(found, str):
        try:
            found = json.loads(found)
        except ValueError:
            found = None
    if not isinstance(found, Mapping):
        raise BadRow(f"{row.where}: score_rubric is {shown(row.given('score_rubric'))}, not criteria and descriptions")
    return found


def rubric_text(parts: Mapping[str, Any]) -> str:
    """Criteria and the description of each score, as Prometheus writes a rubric."""
    scores = "\n".join(f"Score {n}: {parts.get(f'score{n}_description', '')}" for n in range(1, 6))
    return f"[{parts.get('criteria', '')}]\n{scores}"


def _help(row: Row, column: str) -> str | None:
    return row.text(column) if row.has(column) else None


BENCHMARK = Ratings
