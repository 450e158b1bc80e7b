"""Muon for the matrices, AdamW for embeddings and norms."""

from typing import Any

import torch
from torch import Tensor, nn

NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)


def orthogonalised(update: Tensor, steps: int = 5) -> Tensor:
    """The nearest semi-orthogonal matrix, approximately, by Newton-Schulz iteration."""
    a, b, c = NEWTON_SCHULZ
    x = update.bfloat16()
    tall = x.size(-2) > x.size(-1)
    x = x.mT.contiguous() if tall else x
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(steps):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return (x.mT if tall else x).to(update.dtype)


class Muon:
    """Momentum whose updates are orthogonalised; equal shapes are stacked."""

    def __init__(
        self, parameters: list[Tensor], rate: float, momentum: float, decay: float
    ) -> None:
        self.rate, self.momentum, self.decay = rate, momentum, decay
        groups: dict[torch.Size, list[Tensor]] = {}
        for parameter in parameters:
            groups.setdefault(parameter.shape, []).append(parameter)
        self.groups = list(groups.values())
        self.buffers = [torch.zeros(len(group), *group[0].shape) for group in self.groups]

    @torch.no_grad()
    def step(self, scale: float) -> None:
        """One update at `scale` times the base rate; gradients are cleared."""
        rate = self.rate * scale
        for group, buffer in zip(self.groups, self.buffers, strict=True):
            gradient = torch.stack([parameter.grad for parameter in group])
            buffer.lerp_(gradient, 1 - self.momentum)
            update = orthogonalised(gradient.lerp(buffer, self.momentum))
            update *= max(1.0, update.size(-2) / update.size(-1)) ** 0.5
            for parameter, change in zip(group, update, strict=True):
                parameter.mul_(1 - rate * self.decay).sub_(change, alpha=rate)
                parameter.grad = None


class Optimisers:
    """Both optimisers and their common schedule."""

    def __init__(self, model: nn.Module, muon_rate: float, adam_rate: float) -> None:
        matrices = [p for n, p in model.named_parameters() if p.ndim == 2 and "embed" not in n]
        others = [p for n, p in model.named_parameters() if p.ndim != 2 or "embed" in n]
        self.muon = Muon(matrices, muon_rate, momentum=0.95, decay=0.1)
        self.adam = torch.optim.AdamW(others, lr=adam_rate, betas=(0.9, 0.98), weight_decay=0.0)
        self.adam_rate = adam_rate

    def step(self, scale: float) -> None:
        """One update of all parameters."""
        for group in self.adam.param_groups:
            group["lr"] = self.adam_rate * scale
        self.adam.step()
        self.adam.zero_grad(set_to_none=True)
        self.muon.step(scale)

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {"adam": self.adam.state_dict(), "muon": self.muon.buffers}

    def load(self, state: dict[str, Any]) -> None:
        """Go on from a checkpoint."""
        self.adam.load_state_dict(state["adam"])
        self.muon.buffers = state["muon"]
