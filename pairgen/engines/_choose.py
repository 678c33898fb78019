"""The next token of each row, and what the likeliest ones were. Shapes: R samples (rows), V vocabulary."""

from typing import Any


def choose(logits_RV: Any, temperature_R: Any, top_p_R: Any, draw_R: Any) -> Any:
    """The next token of each row: the likeliest at temperature 0, else by the row's draw in [0, 1).

    Nucleus sampling keeps the smallest set of tokens whose probability reaches `top_p`.
    """
    import torch

    best_R = logits_RV.argmax(-1)
    if not bool((temperature_R > 0).any()):
        return best_R
    scale_R = torch.where(temperature_R > 0, temperature_R, torch.ones_like(temperature_R))
    probs_RV = (logits_RV / scale_R[:, None]).softmax(-1)
    if bool((top_p_R < 1).any()):
        sorted_RV, order_RV = probs_RV.sort(dim=-1, descending=True, stable=True)
        before_RV = sorted_RV.cumsum(-1) - sorted_RV
        kept_RV = sorted_RV * (before_RV < top_p_R[:, None])
        probs_RV = torch.zeros_like(probs_RV).scatter(-1, order_RV, kept_RV)
    reached_RV = probs_RV.cumsum(-1)
    target_R1 = (draw_R * reached_RV[:, -1])[:, None]
    sampled_R = torch.searchsorted(reached_RV, target_R1, right=True)[:, 0].clamp(max=logits_RV.shape[-1] - 1)
    return torch.where(temperature_R > 0, sampled_R, best_R)


def likeliest(logps_V: Any, count: int, tokenizer: Any) -> tuple[tuple[str, float], ...]:
    """The texts of the likeliest tokens with their log-probabilities, the likeliest first."""
    best = logps_V.topk(min(count, len(logps_V)))
    return tuple(
        (str(tokenizer.decode([token])), logprob)
        for token, logprob in zip(best.indices.tolist(), best.values.tolist(), strict=True)
    )
