"""What training does to held-out log-probs, as the papers report it, on a small model made here.

2408.06266 (CLAIR and APO), 5.4.2 and Figure 4; Atla's "SFT vs. DPO vs. RPO", its closing figure. Every claim
over three seeds, each with a policy, pairs and order of its own; where our runs disagree with a paper, the test
says what is true here and docs/log.md what was claimed.
"""

import pytest
import torch
from dynamics_lab import WARMUP, Run, run

from pairgen.train.objectives import OBJECTIVES, Pairs, Side

SEEDS = (0, 1, 2)
EARLY = 3  # measurements 0, 4, 8 of 64 steps, all within the warm-up
CONTRASTIVE = sorted(
    name for name, objective in OBJECTIVES.items()
    if objective.on == "pairs" and not objective.needs & {"scores", "embeddings"} and name != "discopop"
)


def rewards(run_: Run) -> tuple[float, float]:
    return run_.end("rewards_chosen"), run_.end("rewards_rejected")


@pytest.mark.parametrize("seed", SEEDS)
def test_apo_zero_ends_with_the_highest_rewards_and_apo_down_with_the_lowest(seed: int) -> None:
    """Winning and losing rewards alike, DPO between the two: 5.4.2."""
    down, dpo, zero = (rewards(run(name, "clair", seed)) for name in ("apo-down", "dpo", "apo-zero"))
    for lowest, between, highest in zip(down, dpo, zero, strict=True):
        assert lowest + 1 < between < highest - 0.5


@pytest.mark.parametrize("seed", SEEDS)
def test_dpo_first_tracks_apo_zero_and_then_follows_apo_down(seed: int) -> None:
    """The winning reward rises first, as under APO-zero, and then falls below where it began."""
    curves = {name: run(name, "clair", seed).curve("rewards_chosen") for name in ("apo-zero", "dpo", "apo-down")}
    rise = curves["dpo"][EARLY - 1]
    assert rise > 0.1
    assert curves["dpo"][:EARLY] == pytest.approx(curves["apo-zero"][:EARLY], abs=0.05)
    assert curves["apo-down"][EARLY - 1] < 0.2 * rise
    peak = max(curves["dpo"])
    assert curves["dpo"].index(peak) * 4 <= 2 * WARMUP
    assert curves["dpo"][-1] < -0.5 < curves["apo-zero"][-1]


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("objective", ["dpo", "rpo", "apo-zero", "apo-down"])
def test_the_margin_widens_to_the_end(objective: str, seed: int) -> None:
    """Under APO-down it may narrow at first: what lowers the loser lowers all that is written like it."""
    margin = run(objective, "clair", seed).curve("margin")
    half = len(margin) // 2
    assert 0.5 < margin[half] < margin[-1]
    assert margin[-1] > 0.9 * max(margin)
    assert objective == "apo-down" or 0 < margin[half // 2] < margin[half]
    assert run(objective, "clair", seed).end("accuracy") > 0.85


@pytest.mark.parametrize("objective", CONTRASTIVE)
def test_every_contrastive_objective_widens_the_margin(objective: str) -> None:
    """Eight steps are enough to see the sign, and more than half a nat of it."""
    found = run(objective, "clair", seed=0, epochs=1)
    chosen, rejected = found.curve("logps_chosen"), found.curve("logps_rejected")
    assert (chosen[-1] - rejected[-1]) - (chosen[0] - rejected[0]) > 0.5


def test_discopop_narrows_the_margin_at_first() -> None:
    """Its gradient at the reference has the other sign, and RMSProp makes much of it: it moves away from the pairs."""
    assert run("discopop", "clair", seed=0, epochs=2).end("margin") < 0


@pytest.mark.parametrize("seed", SEEDS)
def test_nll_beside_dpo_keeps_the_chosen_side_from_falling(seed: int) -> None:
    dpo, rpo = (run(name, "clair", seed).curve("logps_chosen") for name in ("dpo", "rpo"))
    assert dpo[-1] < dpo[0] - 5  # nats of some 21 tokens
    assert min(rpo) == rpo[0] < rpo[-1] - 3


@pytest.mark.parametrize("seed", SEEDS)
def test_sft_raises_both_sides_where_both_are_written_in_a_style_to_be_learnt(seed: int) -> None:
    """Atla's closing figure: SFT raises good and bad judgments, RPO the good and lowers the bad."""
    sft, rpo = (run(name, "off-policy", seed) for name in ("sft", "rpo"))
    assert sft.end("rewards_chosen") > 0.3
    assert sft.end("rewards_rejected") > 0.2
    assert rpo.end("rewards_chosen") > 0.2
    assert rpo.end("rewards_rejected") < -0.1


def test_sft_lowers_the_rejected_side_where_it_is_the_policys_own_answer() -> None:
    """Where we disagree with Atla's figure: the reverse side of imitating another style is to leave one's own."""
    assert rewards(run("sft", "clair", seed=0))[1] < -0.2


def test_rewards_saturate_under_apo_down_and_not_under_apo_zero() -> None:
    """|reward| beyond 6, where a sigmoid loss no longer pulls: right answers, and wrong ones alike."""
    down, zero = (run(name, "clair", seed=0).curve("saturated") for name in ("apo-down", "apo-zero"))
    assert down[0] == 0.0 < down[len(down) // 2] <= down[-1]
    assert down[-1] > 0.3
    assert max(zero) == 0.0


@pytest.mark.parametrize("seed", SEEDS)
def test_dpo_leaves_more_chosen_sides_less_likely_than_apo_zero(seed: int) -> None:
    dpo, zero, down = (run(name, "clair", seed).end("chosen_down") for name in ("dpo", "apo-zero", "apo-down"))
    assert zero + 0.2 < dpo <= down
    assert down > 0.95


def test_kto_is_apo_zero_unpaired_where_the_policy_stays_near_the_reference() -> None:
    """KTO's baseline is the KL estimated under strangers' prompts: a step that drives it below 0 has none."""
    kto, plain = (run(name, "clair", seed=0, epochs=4) for name in ("kto", "apo-zero-unpaired"))
    for name in ("rewards_chosen", "rewards_rejected"):
        assert kto.curve(name) == pytest.approx(plain.curve(name), abs=0.1)
    assert kto.last["kl"] < 1


def test_apo_auto_is_apo_zero_or_apo_down_by_the_winner_and_between_them_by_its_share() -> None:
    """Its masks are per pair: all winners better than the policy is APO-zero itself, none is APO-down itself."""
    zero, down = (run(name, "clair", 0, epochs=2) for name in ("apo-zero", "apo-down"))
    all_, half, none = (run("apo-auto", "clair", 0, better=share, epochs=2) for share in (1.0, 0.5, 0.0))
    names = ("rewards_chosen", "rewards_rejected")
    for name in names:
        assert all_.curve(name) == zero.curve(name)
        assert none.curve(name) == down.curve(name)
        assert none.end(name) < half.end(name) < all_.end(name)
    assert [found.end("zero_share") for found in (all_, half, none)] == [1.0, 0.5, 0.0]


def test_apo_down_does_not_touch_the_chosen_side_at_the_reference() -> None:
    """beta (d(c) - d(h)) is 0 at c = j = 0; the log-prob moves in the first steps only by what sides share."""
    logps = [torch.tensor([-20.0], requires_grad=True) for _ in range(2)]
    sides = [Side(p, p.detach(), torch.tensor([10.0])) for p in logps]
    loss = OBJECTIVES["apo-down"].loss(Pairs(*sides), beta=0.1)
    assert [g.item() for g in torch.autograd.grad(loss.sum(), logps)] == pytest.approx([0.0, 0.025])

