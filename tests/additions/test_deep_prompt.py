"""Deep prompts against words read before a text, blocks run one by one, and where gradients flow."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from metaft.additions import attach, only
from metaft.errors import MetaftError
from metaft.models.attention import additive_mask
from tests.additions.learned import own_parameters
from tests.additions.test_additions import moved, network_of
from tests.additions.test_prefix import RTOL, texts, tokenizer_of_letters

BLOCKS = {"bert": "blocks.{}", "hf-bert": "model.encoder.layer.{}"}


@pytest.mark.parametrize("model", RTOL)
def test_begun_from_words_it_is_those_words_before_the_text(model: str) -> None:
    network, ids = network_of(model), texts()
    whole = network(torch.cat([torch.tensor([5, 7, 9]).expand(len(ids), -1), ids], dim=-1))
    added = attach(network, "deep-prompt:words=5,7,9")
    torch.testing.assert_close(added(ids), whole, rtol=RTOL[model], atol=RTOL[model])
    assert not torch.allclose(moved(added)(ids), whole)


def test_a_text_is_read_by_the_tokenizer_of_the_network() -> None:
    network = network_of("gpt")
    network.tokenizer = tokenizer_of_letters()
    one, other = (attach(network, f"deep-prompt:{how}") for how in ("text=a c b", "words=3,5,4"))
    assert torch.equal(one(texts()), other(texts()))


@pytest.mark.parametrize("model", BLOCKS)
def test_it_is_blocks_run_one_by_one(model: str) -> None:
    network, ids = network_of(model), texts()
    ids[0, 4:] = 0
    added = moved(attach(network, "deep-prompt:length=3", seed=1))
    more = nn.functional.pad(ids, (3, 0), value=1)  # some word that is there
    x = network.embedding(more) if model == "bert" else network.model.embeddings(more)
    mask = additive_mask(more, False, x.dtype)
    for block in range(2):
        name = BLOCKS[model].format(block)
        x = torch.cat([own_parameters(added, "deep-prompt")[name]["vectors"].expand(len(ids), -1, -1), x[:, 3:]], dim=1)
        layer = network.get_submodule(name)
        x = layer(x, mask, None) if model == "bert" else layer(x, mask)
    words = (ids != 0).double()[..., None]
    expected = network.head((words * x[:, 3:]).sum(1) / words.sum(1))
    torch.testing.assert_close(added(ids), expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("model", ["bert", "gpt", "llama", "hf-bert", "hf-gpt2", "hf-llama"])
def test_what_is_overwritten_still_passes_gradients_sideways(model: str) -> None:
    """A block's vectors move the text's states in that block; what the block makes of them itself goes nowhere."""
    network, ids = network_of(model), texts()
    added = attach(network, "deep-prompt:length=3", seed=1)
    blocks = {n.rpartition(".deep-prompt.")[0]: p for n, p in added.named_parameters() if n.endswith("prompt.vectors")}
    (first, vectors), (_, last_vectors) = blocks.items()
    seen: dict[str, Tensor] = {}

    def note(layer: nn.Module, given: tuple[Tensor, ...], answer: Tensor | tuple[Tensor, ...]) -> None:
        seen["given"], seen["answer"] = given[0], answer if isinstance(answer, Tensor) else answer[0]

    added.get_submodule(first).register_forward_hook(note)
    answer = added(ids)[:, 0].sum()
    wanted = (vectors, last_vectors, seen["given"], seen["answer"])
    of_first, of_last, given, answered = torch.autograd.grad(answer, wanted)
    assert (of_first.abs().amax(-1) > 1e-6).all()
    assert (of_last.abs().amax(-1) > 1e-6).all()
    torch.testing.assert_close(given[:, :3].sum(0), of_first)
    assert answered[:, :3].abs().max() == 0  # overwritten by the next block
    assert answered[:, 3:].abs().max() > 1e-6
    assert given[:, 3:].abs().max() > 1e-6
    # The text's gradient depends on the vectors beside it: it comes through attention to them too.
    with torch.no_grad():
        vectors[:, ::2] += 0.3
    answer = added(ids)[:, 0].sum()
    (other,) = torch.autograd.grad(answer, [seen["given"]])
    assert (given[:, 3:] - other[:, 3:]).abs().max() > 1e-6


def test_the_gradient_is_that_of_finite_differences() -> None:
    added, ids = attach(network_of("bert"), "deep-prompt:length=2", seed=1), texts()
    vectors = added.get_submodule("blocks.0.deep-prompt").vectors
    (gradient,) = torch.autograd.grad(added(ids).sum(), [vectors])
    for place in ((0, 0), (1, 5)):
        answers = []
        for step in (1e-5, -2e-5):
            with torch.no_grad():
                vectors[place] += step
            answers.append(added(ids).sum())
        with torch.no_grad():
            vectors[place] += 1e-5
        torch.testing.assert_close((answers[0] - answers[1]) / 2e-5, gradient[place], rtol=1e-6, atol=1e-8)


def test_it_stands_before_a_prompt_that_is_there_and_none_comes_later() -> None:
    network, ids = network_of("bert"), texts()
    both = moved(attach(network, "prompt:length=2+deep-prompt:length=3", seed=1))
    alone = only(both, "prompt")(ids)
    assert torch.equal(alone, moved(attach(network, "prompt:length=2", seed=1))(ids))
    assert not torch.allclose(both(ids), alone)
    assert not torch.allclose(both(ids), only(both, "deep-prompt")(ids))
    for later in ("prompt", "deep-prompt"):
        with pytest.raises(MetaftError, match=f"{later} puts words before those of 'deep-prompt'"):
            attach(both, later, name="later")


@pytest.mark.parametrize(
    ("options", "model", "said"),
    [
        ("length=0", "bert", "the length of deep-prompt must be a whole number of at least 1"),
        ("epsilon=0", "bert", "the epsilon of deep-prompt must be a positive"),
        ("words=3,length=4", "bert", "leave length out"),
        ("words=11", "gpt", "has words 1 to 10"),
        ("length=2", "torch", "takes none in at a layer 'input'"),
    ],
)
def test_what_cannot_be_is_refused(options: str, model: str, said: str) -> None:
    with pytest.raises(MetaftError, match=said):
        attach(network_of(model), f"deep-prompt:{options}")
