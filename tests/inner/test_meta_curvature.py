"""Meta-Curvature against its definition written out as sums, and against plain gradient descent at its start."""

import torch

from metaft.inner.rules import SGD, MetaCurvature


def draw(*shape):
    return torch.randn(*shape, dtype=torch.float64)


def test_a_step_is_a_product_along_every_axis():
    torch.manual_seed(0)
    rule = MetaCurvature(0.1)
    params = {"conv": draw(3, 2, 2, 2), "linear": draw(3, 5), "bias": draw(3)}
    grads = {name: torch.randn_like(value) for name, value in params.items()}
    learned = {name: torch.randn_like(value) for name, value in rule.learned(params).items()}
    moved, _ = rule.step(0, params, {}, grads, learned)
    out, inside, taps = (learned[f"rule:{mode}:conv"] for mode in ("out", "in", "filter"))
    folded = grads["conv"].reshape(3, 2, 4)
    through = torch.zeros_like(folded)
    for o in range(3):
        for i in range(2):
            for f in range(4):
                through[o, i, f] = sum(
                    out[o, a] * inside[i, b] * taps[f, c] * folded[a, b, c]
                    for a in range(3)
                    for b in range(2)
                    for c in range(4)
                )
    torch.testing.assert_close(moved["conv"], params["conv"] - 0.1 * through.reshape(3, 2, 2, 2))
    linear = learned["rule:out:linear"] @ grads["linear"] @ learned["rule:in:linear"].T
    torch.testing.assert_close(moved["linear"], params["linear"] - 0.1 * linear)
    torch.testing.assert_close(moved["bias"], params["bias"] - 0.1 * learned["rule:out:bias"] * grads["bias"])


def test_it_begins_as_gradient_descent():
    torch.manual_seed(0)
    params = {"conv": draw(3, 2, 2, 2), "linear": draw(3, 5), "bias": draw(3)}
    grads = {name: torch.randn_like(value) for name, value in params.items()}
    rule = MetaCurvature(0.1)
    ours, _ = rule.step(0, params, {}, grads, rule.learned(params))
    plain, _ = SGD(0.1).step(0, params, {}, grads, {})
    for name in params:
        torch.testing.assert_close(ours[name], plain[name])
