"""The linear head: multinomial logistic regression, fitted for all folds at once.

The folds share their samples, so that one product ``X [W_1 ... W_K]`` serves all of them, and each problem is only a
column block with its own sample weights. The blocks are independent; L-BFGS-B of SciPy takes them as one problem.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize
from torch import Tensor

from codivide.methods.features.matrix import Matrix


@dataclass(frozen=True)
class Linear:
    """K heads side by side.

    Attributes:
        weight: ``[D, K, C]`` float32.
        bias: ``[K, C]`` float32.
    """

    weight: Tensor
    bias: Tensor

    def logits(self, x: Matrix) -> Tensor:
        """``[N, K, C]``."""
        return x.times(self.weight.flatten(1)).view(-1, *self.bias.shape) + self.bias


def fit(
    x: Matrix,
    likelihood: Tensor,
    weight: Tensor,
    penalty: float,
    start: Linear | None = None,
    *,
    steps: int = 100,
    tolerance: float = 1e-4,
) -> Linear:
    """Minimise, for every block k, the weighted mean of ``-log sum_c v_c p_c`` plus ``penalty/2 |W_k|^2``.

    ``p = softmax(x W_k + b_k)`` and ``v_c`` is how likely what was given is when the true class is c: the one-hot label
    makes this plain logistic regression, the column of a transition matrix forward correction (Patrini et al., CVPR
    2017, theorem 2), and ones a sample without a label. scikit-learn's ``C`` is ``1 / (penalty N)``. The bias is not
    penalised. The gradient by the logits is ``p - q`` with the posterior ``q_c = v_c p_c / sum v p``.

    Args:
        x: scaled features ``[N, D]``.
        likelihood: ``v``, ``[N, C]`` in [0, 1], the same for every block.
        weight: of the samples in each block ``[N, K]``, non-negative; 0 leaves a sample out.
        penalty: positive.
        start: where to begin; zero weights if None.
        steps: most iterations.
        tolerance: stop when the mean loss of a block gains less, relatively.
    """
    count, width = x.shape
    blocks, classes = weight.shape[1], likelihood.shape[1]
    share = (weight / weight.sum(0).clamp_min(torch.finfo(torch.float32).tiny)).unsqueeze(-1)
    given = likelihood.unsqueeze(1)
    size = (width + 1) * blocks * classes
    # Steps are in units in which the curvature of the loss is about 1 along every column.
    spread = (1 - 1 / classes) / classes
    unit = (spread * torch.cat([x.squares(), torch.ones(1)]) + penalty).rsqrt().unsqueeze(1)

    def objective(flat: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        theta = torch.from_numpy(flat).float().view(width + 1, blocks * classes) * unit
        logits = (x.times(theta[:-1]) + theta[-1]).view(count, blocks, classes)
        prob = torch.softmax(logits, -1)
        joint = prob * given
        seen = joint.sum(-1, keepdim=True).clamp_min(torch.finfo(torch.float32).tiny)
        loss = -(seen.log() * share).sum(dtype=torch.float64)
        slope = prob.sub_(joint.div_(seen)).mul_(share).view(count, blocks * classes)
        gradient = torch.empty(width + 1, blocks * classes, dtype=torch.float64)
        gradient[:-1] = x.back(slope).add_(theta[:-1], alpha=penalty)
        gradient[-1] = slope.sum(0)
        gradient *= unit
        return float(loss + 0.5 * penalty * theta[:-1].double().square().sum()), gradient.flatten().numpy()

    if start is None:
        flat = np.zeros(size)
    else:
        flat = (
            (torch.cat([start.weight.flatten(1), start.bias.flatten().unsqueeze(0)]) / unit).double().flatten().numpy()
        )
    found = minimize(
        objective, flat, jac=True, method="L-BFGS-B", options={"maxiter": steps, "ftol": tolerance, "gtol": 1e-7}
    )
    theta = (torch.from_numpy(found.x).float().view(width + 1, -1) * unit).view(width + 1, blocks, classes)
    return Linear(theta[:-1].clone(), theta[-1].clone())
