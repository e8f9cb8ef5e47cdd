"""The head is the layer that answers, whatever it is called and wherever it is registered."""

import copy

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations

import metaft
from metaft.errors import MetaftError
from metaft.inner.scope import select, spelled_out
from metaft.learners import ClassMeans, FineTuning, build
from metaft.models import MLP, Conv4, ResNet12
from metaft.models.anatomy import anatomy
from metaft.models.heads import head_alone, head_name, with_new_head, without_head
from metaft.models.layers import LayerFeatures


class HeadFirst(nn.Module):
    """Registers its head before its body."""

    def __init__(self, outputs=3, width=6):
        super().__init__()
        self.classifier = nn.Linear(width, outputs)
        self.features = nn.Sequential(nn.Linear(4, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU())

    def forward(self, x):
        return self.classifier(self.features(x))


class Recurrent(nn.Module):
    def __init__(self, kind=nn.LSTM, outputs=3):
        super().__init__()
        self.out = nn.Linear(5, outputs)
        self.cells = kind(4, 5, batch_first=True, bidirectional=False)

    def forward(self, x):
        return self.out(self.cells(x)[0][:, -1])


class Encoder(nn.Module):
    def __init__(self, outputs=3, tied=False):
        super().__init__()
        self.answer = nn.Linear(8, 11 if tied else outputs)
        self.embed = nn.Embedding(11, 8)
        self.place = nn.Parameter(torch.zeros(1, 9, 8))
        layer = nn.TransformerEncoderLayer(8, 2, 8, 0.0, batch_first=True)
        self.layers = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        if tied:
            self.answer.weight = self.embed.weight

    def forward(self, x):
        return self.answer((self.layers(self.embed(x) + self.place)).mean(1))


class Wrapped(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = HeadFirst()

    def forward(self, x):
        return self.net(x)


class Sum(nn.Module):
    """Two heads side by side."""

    def __init__(self):
        super().__init__()
        self.one, self.other = nn.Linear(4, 3), nn.Linear(4, 3)

    def forward(self, x):
        return self.one(x) + self.other(x)


class Scale(nn.Module):
    def __init__(self):
        super().__init__()
        self.head, self.scale = nn.Linear(4, 3), nn.Parameter(torch.ones(()))

    def forward(self, x):
        return self.scale * self.head(x)


class Auxiliary(nn.Module):
    """A layer that runs last and is not asked, one that never runs, and the head in two places."""

    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(4, 5), nn.Linear(5, 3)])
        self.head, self.auxiliary, self.unused = self.layers[1], nn.Linear(5, 7), nn.Linear(2, 2)

    def forward(self, x):
        features = self.layers[0](x).tanh()
        answer = self.head(features)
        self.auxiliary(features)
        return answer


class Matrix(nn.Module):
    """Uses a layer's weights and never runs it."""

    def __init__(self):
        super().__init__()
        self.body, self.head = nn.Linear(4, 4), nn.Linear(4, 3)

    def forward(self, x):
        return nn.functional.linear(self.body(x), self.head.weight, self.head.bias)


class Counts(nn.Module):
    """A forward pass that is seen from outside: a counter, random numbers."""

    def __init__(self):
        super().__init__()
        self.head, self.calls = nn.Linear(4, 3), 0
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, x):
        self.calls += 1
        self.seen += 1
        return self.head(x + torch.rand(()))


CONV_HEAD = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Conv2d(4, 3, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten())


@pytest.mark.parametrize(
    ("model", "head", "order"),
    [
        (Conv4(1, 28, 5, hidden=4), "head", [f"features.{i}" for i in range(4)]),
        (Conv4(3, 84, 5, hidden=4, pool="max"), "head", [f"features.{i}" for i in range(4)]),
        (ResNet12(1, 16, 5, hidden=2), "head", [f"features.{i}" for i in range(4)]),
        (MLP(1, 1), "4", ["0", "2"]),
        (HeadFirst(), "classifier", ["features.0", "features.2"]),
        (Wrapped(), "net.classifier", ["net.features.0", "net.features.2"]),
        (Recurrent(), "out", ["cells"]),
        (Recurrent(nn.GRU), "out", ["cells"]),
        (Encoder(), "answer", ["place", "embed", "layers.layers.0", "layers.layers.1"]),
        (CONV_HEAD, "2", ["0"]),
        (nn.Sequential(nn.Linear(4, 5), nn.Linear(5, 3), nn.LogSoftmax(1)), "1", ["0"]),
        (nn.Sequential(nn.Linear(4, 5), nn.Linear(5, 6), nn.Unflatten(1, (3, 2)), nn.Flatten()), "1", ["0"]),
        (nn.Sequential(nn.Linear(4, 5), parametrizations.weight_norm(nn.Linear(5, 3))), "1", ["0"]),
        (nn.Sequential(nn.BatchNorm1d(4), nn.Linear(4, 3)), "1", ["0"]),
    ],
)
def test_the_head_and_the_order_of_blocks_are_seen_in_a_forward_pass(model, head, order):
    found = anatomy(model)
    assert found.head == head
    own = [n for n, _ in model.named_parameters() if n.startswith(f"{head}.")]
    assert list(select(found.names, spelled_out("head", model))) == own
    assert set(select(found.names, spelled_out("body", model))) == set(found.names) - set(own)
    assert list(found.blocks()) == [*order, head]
    assert list(found.blocks()[head]) == own
    assert set(select(found.names, spelled_out("last:1", model))) == set(own)
    assert set(select(found.names, spelled_out("first:1,head", model))) == {*found.blocks()[order[0]], *own}
    assert select(found.names, spelled_out("all,!head", model)) == select(found.names, spelled_out("body", model))


@pytest.mark.parametrize("model", [Conv4(1, 28, 5, hidden=4), ResNet12(1, 16, 5, hidden=2), MLP(1, 1)])
@pytest.mark.parametrize("scope", ["head", "body", "first:2", "last:2", "first:1,head", "all,!head", "biases,!last:1"])
def test_our_networks_have_the_roles_that_their_names_tell(model, scope):
    names = [name for name, _ in model.named_parameters()]
    assert select(names, spelled_out(scope, model)) == select(names, scope)


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (Sum(), "layer 'one' and layer 'other' side by side|layer 'other' and layer 'one' side by side"),
        (Scale(), "'scale' and layer 'head'"),
        (Matrix(), "'head.weight' and 'head.bias'|'head.bias' and|and 'head.bias'"),
        (nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3)), "'1', is BatchNorm1d, which only scales and shifts"),
        (nn.Sequential(nn.Linear(4, 3), nn.PReLU()), "'1', is PReLU"),
        (nn.Sequential(nn.Linear(4, 6), nn.GLU()), "'0', is Linear with 6 outputs, and the network answers with 3"),
        (nn.LSTM(4, 3), "answers with tuple"),
        (nn.Flatten(), "has no parameters"),
        (Encoder(tied=True), "shares 'answer.weight' with another layer"),
    ],
)
def test_a_head_that_is_not_clear_is_refused_in_one_line(model, said):
    for scope in ("head", "body", "first:1", "all,!head"):
        with pytest.raises(MetaftError, match=said):
            spelled_out(scope, model)
    with pytest.raises(MetaftError, match=said):
        head_name(model)
    names = [name for name, _ in model.named_parameters()]
    if names:
        assert spelled_out("all", model) == "all"  # what needs no head asks for none
        assert select(names, spelled_out(names[0], model)) == (names[0],)


def test_the_user_names_the_head():
    model = Scale()
    model.head_layer = "head"
    assert anatomy(copy.deepcopy(model)).head_names == ("head.weight", "head.bias")
    model.head_layer = "haed"
    with pytest.raises(MetaftError, match="no layer of that name; did you mean 'head'"):
        anatomy(model)


def test_a_shape_that_cannot_be_guessed_is_asked_for():
    class Wide(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.head = nn.Conv2d(1, 2, 3), nn.Linear(2 * 5 * 11, 3)

        def forward(self, x):
            return self.head(self.conv(x).flatten(1))

    with pytest.raises(MetaftError, match=r"no input was found that it takes; tell its shape by .* input_shape"):
        anatomy(Wide()).require_head()
    model = Wide()
    model.input_shape = (1, 7, 13)
    assert anatomy(model).head == "head"


def test_looking_changes_nothing():
    model, state = Counts().train(), torch.get_rng_state()
    assert anatomy(model).head == "head"
    assert (model.calls, float(model.seen), model.training) == (0, 0.0, True)
    assert torch.equal(state, torch.get_rng_state())
    assert not model._forward_hooks
    assert not model.head._forward_hooks
    model.head = nn.Linear(4, 8)  # another network: looked at anew
    assert anatomy(model).example is not None
    frozen = HeadFirst().requires_grad_(False)
    assert anatomy(frozen).head == "classifier"
    assert not any(p.requires_grad for p in frozen.parameters())


def test_a_layer_that_runs_last_but_is_not_asked_is_no_head():
    model = Auxiliary()
    assert anatomy(model).head == "layers.1"
    with pytest.raises(MetaftError, match="'unused' was not seen to run"):
        spelled_out("first:1", model)
    renewed = with_new_head(model, 9, seed=0)  # in both places
    assert renewed(torch.rand(2, 4)).shape == (2, 9)
    assert renewed.head is renewed.layers[1]


@pytest.mark.parametrize("model", [HeadFirst(), Wrapped(), Recurrent(), nn.Sequential(nn.Linear(4, 3), nn.Flatten())])
def test_heads_are_taken_off_and_renewed_wherever_they_are_registered(model):
    model, x = model.eval(), torch.rand(5, 6, 4) if isinstance(model, Recurrent) else torch.rand(5, 4)
    torch.testing.assert_close(head_alone(model)(without_head(model)(x)), model(x))
    assert with_new_head(model, 7, seed=0)(x).shape == (5, 7)
    features = without_head(model)(x)
    torch.testing.assert_close(
        LayerFeatures(model)(x), features if features.dim() == 2 else features.mean(1), rtol=1e-5, atol=1e-6
    ) if not isinstance(model, Recurrent) else None


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (nn.Sequential(nn.Linear(4, 3), nn.LogSoftmax(1)), "what follows its head '0' changes the answer"),
        (nn.Sequential(nn.Linear(4, 3), nn.ReLU()), "what follows its head '0' changes the answer"),
        (CONV_HEAD, "'2', is Conv2d"),
        (nn.Sequential(nn.Linear(4, 5), parametrizations.weight_norm(nn.Linear(5, 3))), "is parametrised"),
    ],
)
def test_a_head_that_cannot_be_replaced_is_refused(model, said):
    for of in (head_name, without_head, head_alone, lambda m: with_new_head(m, 2, 0), FineTuning):
        with pytest.raises(MetaftError, match=said):
            of(model)


def test_an_answer_bound_to_the_old_outputs_is_refused():
    class Bound(HeadFirst):
        def forward(self, x):
            answer = super().forward(x)
            assert answer.shape[1] in (3, 6)
            return answer

    with pytest.raises(MetaftError, match="with 5 outputs in its head 'classifier' this Bound fails: Assertion"):
        with_new_head(Bound(), 5, seed=0)


def tasks(ways=3, shots=2, seed=0):
    draw = torch.Generator().manual_seed(seed)
    labels = torch.arange(ways).repeat(4, shots)
    x = torch.randn(4, ways * shots, 4, generator=draw) + labels.unsqueeze(-1)
    return metaft.TaskBatch(x, labels, x + 0.1, labels)


@pytest.mark.parametrize(("learner", "moves"), [("anil", "classifier"), ("boil", "features")])
def test_anil_and_boil_move_what_they_say_where_the_head_is_registered_first(learner, moves):
    """The instance of the list: the features adapted and the classifier did not."""
    method = build(learner, HeadFirst(), inner_lr=0.1, steps=2)
    assert {name.split(".")[0] for name in method.adapts} == {moves}
    rows = {row[0]: row[2] for row in method.scope_rows()}
    assert all((rows[name] == "adapts") == name.startswith(moves) for name in method.params)
    assert method.describe()["scope"] == {"anil": "head", "boil": "body"}[learner]
    out = method.meta_gradient(tasks())
    assert set(out.grads) == set(method.params)
    curve = method.curve(tasks())
    assert not torch.equal(curve[0], curve[-1])


def test_a_head_registered_first_is_a_backbone():
    """The instance of the list: class means ended in a shape error."""
    torch.manual_seed(0)
    model, batch = HeadFirst(outputs=9).eval(), tasks()
    means = ClassMeans(model, normalise="none").curve(batch)[0]
    features = model.features(batch.support_x)
    centres = torch.stack([features[:, batch.support_y[0] == c].mean(1) for c in range(3)], 1)
    torch.testing.assert_close(
        means, -torch.cdist(model.features(batch.query_x), centres).square(), rtol=1e-4, atol=1e-5
    )
    tuned = FineTuning(model, steps=4, head_steps=2, schedule="head-first", rate=0.1)
    assert tuned.curve(batch).shape == (5, 4, 6, 3)
    turning = FineTuning(model, steps=3, schedule="rotating")
    plan = [names[0].split(".")[0] for names in turning._network(3).blocks()]
    assert plan == ["features", "features", "classifier"]
    proto = build("proto-maml", HeadFirst(), inner_lr=0.1, steps=1)
    assert set(proto.begun) == {"classifier.weight", "classifier.bias"}
    assert proto.curve(batch).shape == (2, 4, 6, 3)


def test_names_that_speak_against_their_order_are_refused():
    names = [name for name, _ in HeadFirst().named_parameters()]
    with pytest.raises(MetaftError, match=r"the last is 'features.2', and there is 'classifier'"):
        select(names, "head")
    assert select(names, "classifier.*") == ("classifier.weight", "classifier.bias")


def test_meta_training_takes_the_roles_of_the_network():
    """Names that are spelled out reach the engine: the head alone moves, and the gradient is that of a pattern."""
    batch, model = tasks(), HeadFirst()
    role, pattern = (
        metaft.learners.MAML(model, metaft.MetaSGD(0.1), 2, scope=scope, meta_scope="body,rates")
        if scope == "head"
        else metaft.learners.MAML(model, metaft.MetaSGD(0.1), 2, scope=scope, meta_scope="features.*,rates")
        for scope in ("head", "classifier.*")
    )
    assert role.adapts == ("classifier.weight", "classifier.bias")
    ours, theirs = role.meta_gradient(batch), pattern.meta_gradient(batch)
    assert ours.grads.keys() == theirs.grads.keys()
    assert all(torch.equal(g, theirs.grads[n]) for n, g in ours.grads.items())
