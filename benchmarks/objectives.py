"""What docs/objectives.md shows: the table of losses, and how they move held-out rewards in runs of our own.

Trains the small world of tests/train/dynamics_lab.py with six objectives on two kinds of pairs over three seeds
(some ten minutes of one core; `--draw` draws the kept numbers again), and writes
docs/objectives/{curves.json,clair.svg,off-policy.svg,pulls.svg} and the generated parts of the page.

    python benchmarks/objectives.py [--draw]
"""

import argparse
import inspect
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pairgen.train.config import PRESETS, Term
from pairgen.train.objectives import OBJECTIVES, Pairs, Rewards, Side, Unpaired

ROOT = Path(__file__).resolve().parent.parent
PAGE, FOLDER = ROOT / "docs" / "objectives.md", ROOT / "docs" / "objectives"
CURVES = FOLDER / "curves.json"
SHOWN = ("dpo", "apo-zero", "apo-down", "rpo", "sft", "kto")
CONSTRUCTIONS = ("clair", "off-policy")
SEEDS = (0, 1, 2)
CHOSEN, REJECTED = "#1f6fb4", "#c8500a"


# --- the runs -----------------------------------------------------------------------------------------


def measure() -> dict[str, Any]:
    """Held-out rewards of every run: construction, objective, side, then a list for each seed."""
    sys.path.insert(0, str(ROOT / "tests" / "train"))
    from dynamics_lab import TRAINING, run

    torch.set_num_threads(1)
    found: dict[str, Any] = {"steps_between": TRAINING["heldout_every"]}
    for construction in CONSTRUCTIONS:
        found[construction] = {}
        for objective in SHOWN:
            runs = [run(objective, construction, seed) for seed in SEEDS]
            found[construction][objective] = {
                side: [[round(x, 3) for x in one.curve(f"rewards_{side}")] for one in runs]
                for side in ("chosen", "rejected")
            }
            print(construction, objective, {side: [c[-1] for c in curves] for side, curves in
                                            found[construction][objective].items()}, flush=True)
    return found


# --- pulls: minus the gradient of a loss, by autograd ---------------------------------------------------


def side(ratio_B: Tensor, logp: float, tokens: float, score: float) -> Side:
    """A side whose log-ratio to the reference is given, with everything a loss may read."""
    whole_B = torch.full_like(ratio_B, logp)
    return Side(ratio_B + whole_B.detach(), whole_B, torch.full_like(ratio_B, tokens),
                score_B=torch.full_like(ratio_B, score))


def pulls(name: str, c_B: Tensor, j_B: Tensor, **params: Any) -> tuple[Tensor, Tensor]:
    """How hard a loss raises chosen and rejected log-probs (negative: lowers), [B] each, per row of a mean over rows.

    The chosen side has 40 tokens of probability 1/e on average, the rejected 50 of e^-1.2, and scores are
    1 and 0 with the policy's at 0.5.
    """
    objective, term = OBJECTIVES[name], Term.model_validate({"use": name, **params})
    c_B, j_B = c_B.clone().requires_grad_(), j_B.clone().requires_grad_()
    chosen, rejected = side(c_B, -40.0, 40.0, 1.0), side(j_B, -60.0, 50.0, 0.0)
    vectors_BE, count = torch.ones(len(c_B), 1, dtype=c_B.dtype), len(c_B)
    views: dict[str, Callable[[], Any]] = {
        "targets": lambda: chosen, "golds": lambda: chosen,
        "pairs": lambda: Pairs(chosen, rejected, torch.full_like(c_B, 0.5), vectors_BE),
        "unpaired": lambda: Unpaired(chosen, rejected, torch.zeros_like(c_B), vectors_BE, vectors_BE,
                                     torch.ones_like(c_B)),
        "rewards": lambda: Rewards(c_B, j_B, torch.zeros_like(c_B)),
    }
    loss_B = objective.loss(views[objective.on](), **term.params)
    total = loss_B.sum() * count / len(loss_B)
    if term.per_token:
        total = total / 40.0
    found = torch.autograd.grad(total, [c_B, j_B], allow_unused=True, materialize_grads=True)
    return -found[0], -found[1]


def at_the_reference(name: str) -> tuple[float, float]:
    """The pulls where policy and reference are one, in a step of four rows, with default parameters."""
    zero_B = torch.zeros(4, dtype=torch.float64)
    chosen_B, rejected_B = pulls(name, zero_B, zero_B)
    return chosen_B[0].item(), rejected_B[0].item()


# --- the generated parts of the page --------------------------------------------------------------------


def loss_table() -> str:
    """A line for every loss: its docstring's formula and source, defaults, what it reads, its first pulls."""
    lines = ["| loss | formula, source | defaults | reads | takes | first pull: chosen, rejected |",
             "|---|---|---|---|---|---|"]
    for name, objective in OBJECTIVES.items():
        parameters = [p for p in inspect.signature(objective.loss).parameters.values() if p.kind is p.KEYWORD_ONLY]
        defaults = ", ".join(f"{p.name} {p.default:g}" if isinstance(p.default, float) else f"{p.name} {p.default}"
                             for p in parameters)
        reads = [objective.on, *(["reference"] if objective.needs_reference else []), *sorted(objective.needs),
                 *(["whole step"] if objective.coupled else [])]
        raised, lowered = (f"{pull:+.3g}" if abs(pull) > 1e-12 else "0" for pull in at_the_reference(name))
        lines.append(f"| `{name}` | {_said(objective.loss)} | {defaults or '–'} | {', '.join(reads)} | "
                     f"{', '.join(sorted(objective.fits)) or '–'} | {raised}, {lowered} |")
    return "\n".join(lines)


def _said(loss: Any) -> str:
    """The first paragraph of a docstring, fit for a cell."""
    first = (inspect.getdoc(loss) or "").split("\n\n")[0]
    return " ".join(first.split()).replace("|", "\\|").replace("*", "\\*")


def preset_table() -> str:
    """A line for every weighted sum with a name."""
    lines = ["| name | is |", "|---|---|"]
    for name, terms in PRESETS.items():
        lines.append(f"| `{name}` | {' + '.join(f'`{_term(term)}`' for term in terms)} |")
    return "\n".join(lines)


def _term(term: dict[str, Any]) -> str:
    inside = ", ".join(f"{key}: {value}" for key, value in term.items())
    return f"{{{inside}}}"


def end_table(curves: dict[str, Any]) -> str:
    """Rewards after the last step, mean and range over seeds."""
    heads = [f"{kind}: {which}" for kind in CONSTRUCTIONS for which in ("chosen", "rejected")]
    lines = [f"| | {' | '.join(heads)} |",
             "|---|---|---|---|---|"]
    for name in SHOWN:
        cells = [_ends(curves[kind][name][which]) for kind in CONSTRUCTIONS for which in ("chosen", "rejected")]
        lines.append(f"| `{name}` | {' | '.join(cells)} |")
    return "\n".join(lines)


def _ends(found: list[list[float]]) -> str:
    ends = [curve[-1] for curve in found]
    return f"{sum(ends) / len(ends):+.2f} ({min(ends):+.2f} to {max(ends):+.2f})"


def with_tables(text: str) -> str:
    """The page with its generated parts made anew."""
    curves = json.loads(CURVES.read_text())
    for name, made in (("ends", end_table(curves)), ("losses", loss_table()), ("presets", preset_table())):
        start, end = f"<!-- {name}: made by benchmarks/objectives.py -->\n", f"\n<!-- /{name} -->"
        before, _, rest = text.partition(start)
        _, _, after = rest.partition(end)
        text = before + start + made + end + after
    return text


# --- the drawings ---------------------------------------------------------------------------------------


Cell = tuple[str, Callable[[Any], None]]


def grid(name: str, title: str, cells: Sequence[Cell], columns: int, x: str, y: str) -> None:
    """Small panels on common axes, as an SVG that is the same bytes for the same numbers."""
    import matplotlib
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    settings: dict[Any, Any] = {
        "svg.hashsalt": name, "svg.fonttype": "none", "font.family": "sans-serif", "font.size": 9,
        "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True, "axes.axisbelow": True,
        "grid.color": "#e4e4e4",
    }
    with matplotlib.rc_context(settings):
        rows = -(-len(cells) // columns)
        figure = Figure(figsize=(2.6 * columns, 2.1 * rows + 0.9), layout="constrained", facecolor="white")
        panels = figure.subplots(rows, columns, sharex=True, sharey=True).flat
        for panel, (label, paint) in zip(panels, cells, strict=True):
            paint(panel)
            panel.axhline(0, color="#808080", linewidth=0.8)
            panel.set_title(label, fontsize=10, loc="left", fontweight="bold")
        lines = [Line2D([], [], color=CHOSEN, linewidth=1.8),
                 Line2D([], [], color=REJECTED, linewidth=1.8, dashes=(4, 2))]
        figure.legend(lines, ["chosen", "rejected"], loc="outside upper right", ncols=2, frameon=False)
        figure.suptitle(title, x=0.01, ha="left", fontsize=11)
        figure.supxlabel(x, fontsize=9)
        figure.supylabel(y, fontsize=9)
        metadata = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        figure.savefig(FOLDER / f"{name}.svg", metadata=metadata)
        if PREVIEW:
            figure.savefig(PREVIEW / f"{name}.png", dpi=110)


PREVIEW: Path | None = None


def draw(curves: dict[str, Any]) -> None:
    """All three drawings."""
    for construction, words in (("clair", "revisions of own answers (CLAIR)"), ("off-policy", "off-policy pairs")):
        cells = [(name, _rewards(curves[construction][name], curves["steps_between"])) for name in SHOWN]
        grid(construction, f"Held-out rewards, {words}", cells, 3, "optimizer step",
             "reward: 0.1 x log policy/reference, mean and range of 3 seeds")
    shown = ("dpo", "hinge", "exo", "nca", "bco-pair", "discopop", "apo-zero", "apo-down")
    panels = [(name, _pull(name)) for name in shown] + [("apo-down, other at -3", _pull("apo-down", other=-3.0))]
    grid("pulls", "How hard a loss raises (+) or lowers (-) a side", panels, 3,
         "reward of that side, the other side's at 0", "pull / beta")


def _rewards(found: dict[str, list[list[float]]], between: int) -> Callable[[Any], None]:
    def paint(panel: Any) -> None:
        for which, colour, dashes in (("chosen", CHOSEN, ()), ("rejected", REJECTED, (4, 2))):
            values_SN = torch.tensor(found[which])
            steps = [between * i for i in range(values_SN.shape[1])]
            low, high = values_SN.min(0).values, values_SN.max(0).values
            panel.fill_between(steps, low.tolist(), high.tolist(), color=colour, alpha=0.18, linewidth=0)
            panel.plot(steps, values_SN.mean(0).tolist(), color=colour, linewidth=1.8, dashes=dashes or (None, None))

    return paint


def _pull(name: str, other: float = 0.0) -> Callable[[Any], None]:
    def paint(panel: Any) -> None:
        beta = 0.1
        reward_B = torch.linspace(-8, 8, 161, dtype=torch.float64)
        other_B = torch.full_like(reward_B, other)
        raised_B, _ = pulls(name, reward_B / beta, other_B / beta, beta=beta)
        _, lowered_B = pulls(name, other_B / beta, reward_B / beta, beta=beta)
        panel.plot(reward_B.tolist(), (raised_B / beta).tolist(), color=CHOSEN, linewidth=1.8)
        panel.plot(reward_B.tolist(), (lowered_B / beta).tolist(), color=REJECTED, linewidth=1.8, dashes=(4, 2))
        panel.set_ylim(-1.85, 1.85)

    return paint


def main() -> None:
    global PREVIEW
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draw", action="store_true", help="draw the kept numbers again, without training")
    parser.add_argument("--preview", type=Path, help="a folder for PNGs of the drawings")
    options = parser.parse_args()
    PREVIEW = options.preview
    FOLDER.mkdir(exist_ok=True)
    if not options.draw:
        found = measure()
        CURVES.write_text(json.dumps(found).replace("]], ", "]],\n").replace("}, ", "},\n") + "\n")
    draw(json.loads(CURVES.read_text()))
    PAGE.write_text(with_tables(PAGE.read_text()))


if __name__ == "__main__":
    main()
