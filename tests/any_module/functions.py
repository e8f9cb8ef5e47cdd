"""Functions of ``torch`` itself that a forward pass often calls."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tests.any_module.case import Between, Case, function


def positive(x: Tensor) -> Tensor:
    """A symmetric positive matrix an example."""
    return x @ x.mT + torch.eye(x.shape[-1], dtype=x.dtype)


def written(x: Tensor) -> Tensor:
    """Numbers written into a tensor of one's own, as user code does."""
    out = torch.zeros_like(x)
    out[:, 0] = x[:, 1].sin()
    out[:, 1:] += x[:, 1:] ** 2
    return out


class Branches(nn.Module):
    """Takes one way or another by what the data say."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.a(x) if x.mean() > 0 else self.b(x).tanh()


class Counts(nn.Module):
    """Counts its calls in a buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 4)
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return self.linear(x)


class Selects(nn.Module):
    """Picks rows by a condition: how many there are depends on the data."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x) + x[x > 0].sum().tanh()


class Loops(nn.Module):
    """Runs until a number read from the data is small."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        for _ in range(1 + int(x.abs().sum().item()) % 3):
            x = self.linear(x).tanh()
        return x


def f(of: str, call, *feeds: int, variant: str = "", **parameters) -> Case:
    return function(f"torch.{of}", call, *feeds, variant=variant, **parameters)


ONE = [
    "exp",
    "log1p",
    "sin",
    "cos",
    "erf",
    "atan",
    "square",
    "abs",
    "cumsum",
    "cumprod",
    "logcumsumexp",
    "sort",
    "flip",
    "cummax",
    "tanh",
    "sigmoid",
    "expm1",
    "sinh",
]
AXIS = {"cumsum", "cumprod", "logcumsumexp", "sort", "flip", "cummax"}
REDUCE = ["sum", "mean", "prod", "amax", "amin", "logsumexp", "var", "std", "median", "max", "min", "norm", "argsort"]

CASES: list[Case] = [
    *(
        f(
            of,
            lambda x, of=of: getattr(torch, of)(
                x.abs() if of == "log1p" else x, *([1] if of != "flip" else [[1]]) if of in AXIS else []
            ),
            4,
            scale=0.7,
        )
        for of in ONE
    ),
    *(
        f(of, lambda x, of=of: _one(getattr(torch, of)(x, dim=1)), 4, 3)
        for of in REDUCE
        if of not in ("argsort", "norm")
    ),
    f("norm", lambda x: torch.norm(x, dim=1), 4, 3),
    f("norm", lambda x: x / torch.norm(x), 4, variant="of all"),
    f("einsum", lambda x, w: torch.einsum("bij,jk,bkl->bil", x, w, x), 3, 3, w=(3, 3)),
    f("matmul", lambda x, w: x @ w @ x.mT, 3, 3, w=(3, 3)),
    f("bmm", lambda x: torch.bmm(x, x.transpose(1, 2)), 3, 3),
    f("baddbmm", lambda x, w: torch.baddbmm(w, x, x.transpose(1, 2)), 3, 3, w=(1, 3, 3)),
    f("addmm", lambda x, b, w: torch.addmm(b, x, w), 4, b=(4,), w=(4, 4)),
    f("tensordot", lambda x, w: torch.tensordot(x, w, dims=([2], [0])), 3, 3, w=(3, 2)),
    f("cdist", lambda x, w: torch.cdist(x, w), 3, 4, w=(2, 4)),
    f("cdist", lambda x, w: torch.cdist(x, w, p=1), 3, 4, scale=0.3, variant="p 1", w=(2, 4)),
    f("cdist", lambda x, w: torch.cdist(x, w, p=3), 3, 4, variant="p 3", w=(2, 4)),
    f("topk", lambda x: x.topk(2, dim=1)[0], 4),
    f("take_along_dim", lambda x: x.take_along_dim(x.argsort(1), 1) * x, 4),
    f("where", lambda x: torch.where(x > 0, x.sin(), x * x), 4),
    f("clamp", lambda x: x.clamp(-0.5, 0.5) * x, 4),
    f("maximum", lambda x, w: torch.maximum(x, w), 4, w=(4,)),
    f("masked_fill", lambda x: x.masked_fill(x < -0.3, 0.1) * x, 4),
    f(
        "scatter_add",
        lambda x: torch.zeros_like(x).scatter_add(1, torch.tensor([[0, 1, 0, 2]]).expand(len(x), 4), x * x),
        4,
    ),
    f("index_add", lambda x: torch.zeros_like(x).index_add(1, torch.tensor([0, 1, 0, 2]), x * x), 4),
    f("tril", lambda x: x.tril() @ x, 3, 3),
    f("diff", lambda x: x.diff(dim=1) ** 2, 4),
    f("diagonal", lambda x: (x @ x).diagonal(dim1=1, dim2=2), 3, 3),
    f("nan_to_num", lambda x: x.nan_to_num() * x, 4),
    f("lerp", lambda x, w: torch.lerp(x, x * x, w.sigmoid()), 4, w=(4,)),
    f("outer", lambda x, w: x.unsqueeze(2) * torch.outer(w, w), 4, w=(4,)),
    f("special.logit", lambda x: torch.special.logit(x.sigmoid() * 0.9 + 0.05), 4),
    f("fft.rfft", lambda x: torch.fft.rfft(x, dim=1).abs(), 4),
    f("complex", lambda x: torch.view_as_real(torch.complex(x, x * x) ** 2), 4),
    f("linalg.norm", lambda x: torch.linalg.norm(x, dim=(1, 2)).unsqueeze(1), 3, 3),
    f("linalg.inv", lambda x: torch.linalg.inv(positive(x)), 3, 3),
    f("linalg.solve", lambda x, w: torch.linalg.solve(positive(x), w.expand(len(x), 3, 2)), 3, 3, w=(3, 2)),
    f("linalg.cholesky", lambda x: torch.linalg.cholesky(positive(x)), 3, 3),
    f("linalg.det", lambda x: torch.linalg.det(positive(x)).unsqueeze(1), 3, 3, scale=0.3),
    f("linalg.slogdet", lambda x: torch.linalg.slogdet(positive(x))[1].unsqueeze(1), 3, 3),
    f("linalg.qr", lambda x: torch.linalg.qr(x + torch.eye(3, dtype=x.dtype))[1].abs(), 3, 3),
    f("linalg.svdvals", lambda x: torch.linalg.svdvals(x), 3, 3),
    f("linalg.eigvalsh", lambda x: torch.linalg.eigvalsh(positive(x)), 3, 3),
    f("linalg.pinv", lambda x: torch.linalg.pinv(x + torch.eye(3, dtype=x.dtype)), 3, 3, scale=0.3),
    f("linalg.lstsq", lambda x, w: torch.linalg.lstsq(positive(x), w.expand(len(x), 3, 2))[0], 3, 3, w=(3, 2)),
    f("linalg.matrix_exp", lambda x: torch.linalg.matrix_exp(x / 2), 3, 3),
    f(
        "utils.checkpoint",
        lambda x, w: torch.utils.checkpoint.checkpoint(lambda a: (a @ w).tanh(), x, use_reentrant=False),
        4,
        w=(4, 4),
    ),
    f("no_grad", lambda x: x * x.detach().sigmoid(), 4, variant="detach", held=True),
    f("Tensor.__setitem__", written, 4),
    f("Tensor.unfold", lambda x: x.unfold(1, 2, 1) ** 2, 4),
    f("Tensor.view_as", lambda x: x.view_as(x).permute(1, 0).T * x, 4),
    Case("Module", lambda: Between(Branches(), 4), "a way that depends on data"),
    Case("Module", lambda: Between(Counts(), 4), "a count in a buffer"),
    Case("Module", lambda: Between(Selects(), 4), "rows that depend on data"),
    Case("Module", lambda: Between(Loops(), 4), "a length that depends on data"),
]


def _one(out) -> Tensor:
    """The values, where places come with them."""
    return out if isinstance(out, Tensor) else out[0]
