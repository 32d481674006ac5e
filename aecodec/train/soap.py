"""SOAP over stacks of matrices: a few batched products in place of hundreds of small ones."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer


class BatchedSOAP(Optimizer):
    """SOAP (Vyas et al. 2024): Adam in the eigenbasis of Shampoo's preconditioners, for matrices [m, n].

    Matrices of one shape go through each product together. The first moment is kept in the eigenbasis, which spares
    two of eight products a step; nothing waits for the device. The update is that of pytorch_optimizer.SOAP without
    weight decay. A side longer than `max_side` has no preconditioner. The basis is renewed every `every` steps by one
    step of power iteration and QR.
    """

    def __init__(
        self,
        matrices: Iterable[nn.Parameter],
        lr: float = 1e-3,
        *,
        betas: tuple[float, float] = (0.95, 0.95),
        eps: float = 1e-8,
        every: int = 20,
        max_side: int = 512,
    ) -> None:
        super().__init__(matrices, {"lr": lr, "betas": betas, "eps": eps, "every": every, "max_side": max_side})
        self.steps = 0
        shapes: dict[torch.Size, list[nn.Parameter]] = {}
        for parameter in self.param_groups[0]["params"]:
            shapes.setdefault(parameter.shape, []).append(parameter)
        self.stacks = [_Stack(parameters, max_side) for parameters in shapes.values()]

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override] # noqa: ARG002 - no closure is called
        """One update from the gradients; the first call only fills the preconditioners."""
        group = self.param_groups[0]
        beta1, beta2 = group["betas"]
        corrected = group["lr"] * math.sqrt(1 - beta2**self.steps) / (1 - beta1 ** max(self.steps, 1))
        for stack in self.stacks:
            gradient = torch.stack([parameter.grad for parameter in stack.parameters])  # type: ignore[misc] # all have one
            if self.steps == 0:
                stack.begin(gradient, beta2)
            else:
                stack.update(gradient, corrected, beta1, beta2, group["eps"])
                if self.steps % group["every"] == 0:
                    stack.renew_basis()
        self.steps += 1

    def state_dict(self) -> dict[str, Any]:
        groups = [{name: value for name, value in group.items() if name != "params"} for group in self.param_groups]
        return {"steps": self.steps, "param_groups": groups, "stacks": [stack.state for stack in self.stacks]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.steps = state_dict["steps"]
        for stack, state in zip(self.stacks, state_dict["stacks"], strict=True):
            device = stack.parameters[0].device
            stack.state = {name: tensor.to(device) for name, tensor in state.items()}


class _Stack:
    """k matrices of one shape [m, n] and what is known of their gradients; a side that is too long has no basis."""

    def __init__(self, parameters: list[nn.Parameter], max_side: int) -> None:
        self.parameters = parameters
        m, n = parameters[0].shape
        self.sides = [name for name, side in (("left", m), ("right", n)) if side <= max_side]
        self.state: dict[str, Tensor] = {}  # moments, covariance and basis of each side

    def begin(self, gradient: Tensor, beta2: float) -> None:
        self.state = {"first": torch.zeros_like(gradient), "second": torch.zeros_like(gradient)}
        for side in self.sides:
            self.state[f"{side} covariance"] = (1 - beta2) * _outer(gradient, side)
            self.state[f"{side} basis"] = torch.linalg.eigh(self.state[f"{side} covariance"])[1].flip(-1)

    def update(self, gradient: Tensor, lr: float, beta1: float, beta2: float, eps: float) -> None:
        rotated = self._rotate(gradient)
        first, second = self.state["first"], self.state["second"]
        first.lerp_(rotated, 1 - beta1)
        second.lerp_(rotated.square(), 1 - beta2)
        change = self._back(first / second.sqrt().add_(eps))
        torch._foreach_add_(tuple(self.parameters), change.unbind(), alpha=-lr)
        for side in self.sides:
            self.state[f"{side} covariance"].lerp_(_outer(gradient, side), 1 - beta2)

    def renew_basis(self) -> None:
        """One step of power iteration, QR; the moments follow, the second one in the new order."""
        first = self._back(self.state["first"])
        for side in self.sides:
            basis, dim = self.state[f"{side} basis"], 1 if side == "left" else 2
            moved = self.state[f"{side} covariance"] @ basis
            order = (basis * moved).sum(1).argsort(1, descending=True)
            second = self.state["second"]
            self.state["second"] = second.gather(dim, order.unsqueeze(3 - dim).expand_as(second))
            self.state[f"{side} basis"] = torch.linalg.qr(moved.gather(2, order[:, None].expand_as(moved)))[0]
        self.state["first"] = self._rotate(first)

    def _rotate(self, matrices: Tensor) -> Tensor:
        if "left" in self.sides:
            matrices = self.state["left basis"].mT @ matrices
        return matrices @ self.state["right basis"] if "right" in self.sides else matrices

    def _back(self, matrices: Tensor) -> Tensor:
        if "left" in self.sides:
            matrices = self.state["left basis"] @ matrices
        return matrices @ self.state["right basis"].mT if "right" in self.sides else matrices


def _outer(gradient: Tensor, side: str) -> Tensor:
    return gradient @ gradient.mT if side == "left" else gradient.mT @ gradient
