"""One forward pass of a micro-batch: from tokens to what each side of its rows is worth."""

from collections.abc import Collection

from torch import Tensor

from pairgen.train.logps import token_logps
from pairgen.train.model import Policy
from pairgen.train.packing import MicroBatch
from pairgen.train.sides import Outputs, outputs_of


def measure(policy: Policy, batch: MicroBatch, needs: Collection[str], *, certainty: bool = True) -> Outputs:
    """The sides of a micro-batch's rows, on the CPU in fp32: log-probs, or rewards of a reward head."""
    with policy.autocast():
        placed = batch.to(policy.device)
        if policy.is_reward:
            rewards_K: Tensor = policy.scorer(placed)
            return outputs_of(batch, rewards_K.cpu(), None, None)
        found = token_logps(policy, placed, certainty and "certainty" in needs)
    logps_N = found.logps_N.cpu()
    values_K = logps_N.new_zeros(len(batch.tokens_K)).index_add(0, batch.branch_N, logps_N)
    certainty_N = None if found.certainty_N is None else found.certainty_N.cpu()
    return outputs_of(batch, values_K, logps_N if "tail" in needs else None, certainty_N)
