"""The drill holds on the tree as it is, and notices a label that is swapped anywhere on the way."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pairgen.audit.drill import Check, drill


def failed(checks: list[Check]) -> list[str]:
    return [check.name for check in checks if not check.held]


def test_everything_planted_comes_out_the_right_way_round(tmp_path: Path) -> None:
    """All parts run, and each check says so."""
    heard: list[Check] = []
    checks = drill(tmp_path / "drill", heard.append)
    assert failed(checks) == []
    assert checks == heard
    assert len(checks) >= 28


def swap_prefer(patch: pytest.MonkeyPatch) -> None:
    """The published bug: the first answer is chosen, whatever the judge says."""
    from pairgen.stages.prefer import Prefer

    own = Prefer._pair
    patch.setattr(Prefer, "_pair", lambda self, row, *, first_wins, **rest: own(self, row, first_wins=True, **rest))


def swap_picked(patch: pytest.MonkeyPatch) -> None:
    """The order an answer was shown in is forgotten when the verdict is read."""
    from pairgen.stages._picking import Picking

    own = Picking.shown
    patch.setattr(Picking, "picked", _forgetful(Picking.picked, own))


def _forgetful(picked: Any, shown: Any) -> Any:
    def read(self: Any, row_id: str, replies: Any) -> Any:
        found = picked(self, row_id, replies)
        if not isinstance(found, tuple):
            return found
        return tuple(f == (order == "chosen_first") for f, order in zip(found, shown(self, row_id), strict=True))

    return read


def swap_scores(patch: pytest.MonkeyPatch) -> None:
    from pairgen.stages import best_worst

    own = best_worst._ends
    patch.setattr(best_worst, "_ends", lambda scored: own(scored)[::-1])


def swap_export(patch: pytest.MonkeyPatch) -> None:
    from pairgen.export import rows

    own = rows.pair_record
    patch.setattr("pairgen.export.write.pair_record", lambda row, models: reversed_sides(own(row, models)))


def reversed_sides(made: Any) -> Any:
    """The row with chosen and rejected in each other's place."""
    return replace(made, chosen=made.rejected, rejected=made.chosen) if hasattr(made, "chosen") else made


def swap_judged(patch: pytest.MonkeyPatch) -> None:
    """The judge is shown the answers in the other order than the label says."""
    from pairgen.stages import judge

    own = judge.judge_messages
    patch.setattr(judge, "judge_messages", lambda prompt, pair, order: own(
        prompt, pair, "chosen_first" if order == "rejected_first" else "rejected_first"))


def swap_similar(patch: pytest.MonkeyPatch) -> None:
    from pairgen.stages.pair import MakePair

    own = MakePair._pair
    patch.setattr(MakePair, "_pair", lambda self, row, index, reply: reversed_sides(own(self, row, index, reply)))


def swap_read(patch: pytest.MonkeyPatch) -> None:
    """Training reads the two columns the other way round."""
    from pairgen.train import formats

    own = dict(formats.ALIASES)
    patch.setitem(formats.ALIASES, "chosen", own["rejected"])
    patch.setitem(formats.ALIASES, "rejected", own["chosen"])


@pytest.mark.parametrize("mutation", [
    swap_prefer, swap_picked, swap_scores, swap_export, swap_judged, swap_similar, swap_read,
])
def test_a_label_swapped_anywhere_is_noticed(
    mutation: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mutation(monkeypatch)
    assert failed(drill(tmp_path / "drill"))
