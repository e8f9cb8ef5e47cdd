"""A head that begins as the words of the classes: the model's own scores, then ordinary steps from there."""

from __future__ import annotations

import copy
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.func import functional_call

from metaft.assembly.own_words import OwnWords, in_words_of, open_ended
from metaft.assembly.words import tokens_of
from metaft.data.texts import tokenizer
from metaft.data.texts.labelled_texts import LabelledTexts
from metaft.data.texts.tokenizer import Tokenizer, tokenised
from metaft.errors import MetaftError
from metaft.learners.fine_tuning import FineTuning
from metaft.learners.in_context import InContext
from metaft.models import build
from metaft.models.heads import with_new_head
from metaft.prompting import AnswerWords, Pattern, TextLookup
from metaft.tasks.batch import IGNORE, TaskBatch
from metaft.tasks.episodes import Episodes
from tests.prompting.small import network, words

PATTERN = Pattern("Text: {text}\nLabel: {answer}")
CLASSES = {name: [f"the {name} number {i} in the {place}" for i, place in enumerate(("car", "house", "field"))]
           for name in ("dog", "king", "car", "neighbour")}  # fmt: skip
WORDS = {"dog": ("house",), "king": ("king", "answer"), "neighbour": ("old",)}  # and a car is a car


def family(own: Tokenizer | None = None, **more: Any) -> Episodes:
    options: dict[str, Any] = {"ways": 2, "shots": 1, "queries": 2, **more}
    return Episodes(tokenised(LabelledTexts.of(CLASSES), own or words()), **options)


@lru_cache(maxsize=1)
def ours() -> Any:
    return network(2000)


@lru_cache(maxsize=1)
def llama() -> Any:
    """Hugging Face's, with a tokenizer that ends texts by a word of its own."""
    transformers = pytest.importorskip("transformers", reason="the extra text is not installed")
    from metaft.models.hugging_face import HuggingFace

    config = transformers.LlamaConfig(
        vocab_size=words().vocabulary, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, tie_word_embeddings=True, pad_token_id=0, initializer_range=0.3,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        made = HuggingFace(transformers.LlamaModel(config), 2, causal=True)
    made.tokenizer = words()
    return made.eval()


def learner(model: Any, tasks: Episodes, **options: Any) -> tuple[OwnWords, FineTuning]:
    """Fine-tuning from words on tasks that a pattern writes, and what is inside."""
    own = open_ended(in_words_of(tasks, words(), None, PATTERN), words())
    tokens = tokens_of(own)
    assert tokens is not None
    answers = AnswerWords(TextLookup(tokens), PATTERN, WORDS, words())
    inside = FineTuning(model, head="words", answers=answers, **options)
    return OwnWords(inside, TextLookup.of(tasks), tokens), inside


def prompt(text: str) -> torch.Tensor:
    """``[1, places]``: what a network reads of a text, up to the answer's place."""
    begin = words().number("[CLS]")
    return torch.tensor([[begin, *words().pieces([f"Text: {text}\nLabel:"])[0].tolist()]])


def said(tasks: Episodes, batch: TaskBatch, task: int) -> tuple[list[int], list[str], list[str]]:
    """The first pieces of a task's words, and its texts, support and queries."""
    lookup = TextLookup.of(tasks)
    x, y = batch.support_x[task], batch.support_y[task]
    names = lookup.classes(x, y)
    first = [int(words().pieces([" " + WORDS.get(name, (name,))[0]])[0][0]) for name in names]
    return first, lookup.texts(x), lookup.texts(batch.query_x[task])  # type: ignore[return-value]


def plain_scores(model: Any, ids: torch.Tensor) -> torch.Tensor:
    """Of all words, ``[vocabulary]``, at the last place; Hugging Face's by its own class and nothing of ours."""
    if not hasattr(model, "model"):
        return model.words(ids)[0, -1]  # type: ignore[no-any-return]
    import transformers

    theirs = transformers.LlamaForCausalLM(model.model.config).eval()
    theirs.model.load_state_dict(model.model.state_dict())
    theirs.tie_weights()
    return theirs(input_ids=ids).logits[0, -1]  # type: ignore[no-any-return]


@torch.no_grad()
@pytest.mark.parametrize("make", [ours, llama])
def test_before_the_first_step_scores_are_the_models_own_of_the_words(make: Any) -> None:
    tasks, model = family(), make()
    batch = tasks.batch(0, 2)
    expected = []
    for task in range(2):
        first, _, queries = said(tasks, batch, task)
        expected.append(torch.stack([plain_scores(model, prompt(text))[first] for text in queries]))
    assert float(torch.stack(expected).std()) > 0.1
    for options in ({"scope": "none"}, {"scope": "all,!head"}):
        one = learner(model, tasks, steps=0, **options)[0]
        same = lambda found: torch.testing.assert_close(found, torch.stack(expected), rtol=0, atol=1e-5)
        same(one.curve(batch)[0])
        same(one.adapt(batch.support_x, batch.support_y)(batch.query_x))


def test_a_text_that_is_too_long_is_cut_and_the_pattern_is_not() -> None:
    long = {name: [f"{text} " + "the red house of the king " * 9 for text in own] for name, own in CLASSES.items()}
    tasks = Episodes(tokenised(LabelledTexts.of(CLASSES | {"dog": long["dog"]}), words()), ways=3, shots=1, queries=2)
    whole, cut = (tokens_of(in_words_of(tasks, words(), most, PATTERN)) for most in (None, 40))
    assert whole is not None
    assert cut is not None
    assert int(whole.lengths[:3].min()) > 60
    assert 36 <= int(cut.lengths[:3].min()) <= int(cut.lengths.max()) <= 40
    for text, own in zip(tasks.images.texts[:3], cut.texts[:3], strict=True):
        begin = str(own).removeprefix("Text: ").removesuffix("\nLabel:")
        assert text.startswith(begin)
        assert len(begin) > 30
    assert torch.equal(whole.take(torch.arange(3, 12)), cut.take(torch.arange(3, 12)))
    with pytest.raises(MetaftError, match="with one word of a text is longer than the 5 places that this model has"):
        in_words_of(tasks, words(), 5, PATTERN)


def test_it_is_in_context_learning_without_demonstrations(tmp_path: Path) -> None:
    assert all(len(words().pieces([f" {word}"])[0]) == 1 for word in ("house", "king", "car", "old"))
    tasks = family()
    batch = tasks.batch(0, 3)
    file = tmp_path / "own.toml"
    told = "\n".join(f'{name} = "{own[0]}"' for name, own in WORDS.items())
    file.write_text(f'[words]\n{told}\n[[pattern]]\nname = "own"\ntext = """{PATTERN.text}"""\n')
    expected = InContext(ours(), texts=TextLookup.of(tasks), pattern=str(file), shots=0).curve(batch)[0]
    found = learner(ours(), tasks, steps=0)[0].curve(batch)[0]
    torch.testing.assert_close(found.log_softmax(-1).float(), expected.log_softmax(-1), rtol=0, atol=1e-5)


def by_autograd(model: Any, tasks: Episodes, batch: TaskBatch, task: int, moves: Any, held: float) -> torch.Tensor:
    """Answers after two steps, with torch alone, text after text, held to the start."""
    first, support, queries = said(tasks, batch, task)
    net = with_new_head(model, len(first), 0, "zeros").eval()
    begin = {name: p.detach() for name, p in net.named_parameters()}
    begin["head.weight"] = model.embedding.words.weight.detach()[first]
    params, y = dict(begin), batch.support_y[task]
    answer = lambda params, texts: torch.cat([functional_call(net, params, (prompt(text),)) for text in texts])
    for _ in range(2):
        moving = {n: params[n].clone().requires_grad_() for n in params if moves(n)}
        loss = nn.functional.cross_entropy(answer(params | moving, support), y)
        loss = loss + held / 2 * sum((p - begin[n]).square().sum() for n, p in moving.items())
        grads = torch.autograd.grad(loss, list(moving.values()))
        params |= {n: p.detach() - 0.1 * g for (n, p), g in zip(moving.items(), grads, strict=True)}
    return answer(params, queries).detach()


@pytest.mark.parametrize(
    ("scope", "objective", "moves"),
    [
        ("all", "task", lambda name: True),
        ("none", "l2", lambda name: name.startswith("head")),
        ("biases,!head", "task", lambda name: name.endswith("bias") and not name.startswith("head")),
        ("last:2", "l2", lambda name: name.startswith(("head", "blocks.1", "norm"))),
    ],
)
def test_steps_from_there_are_those_of_plain_autograd(scope: str, objective: str, moves: Any) -> None:
    tasks = family(shots=2, queries=1)
    batch, held = tasks.batch(0, 2), 0.5 if objective == "l2" else 0.0
    one, _ = learner(ours(), tasks, scope=scope, objective=objective, weight=0.5, rate=0.1, steps=2)
    expected = torch.stack([by_autograd(ours(), tasks, batch, task, moves, held) for task in range(2)])
    found = one.curve(batch)
    torch.testing.assert_close(found[-1], expected, rtol=0, atol=1e-9)
    torch.testing.assert_close(one.adapt(batch.support_x, batch.support_y)(batch.query_x), expected, rtol=0, atol=1e-9)
    assert float((found[-1] - found[0]).abs().max()) > 1e-3


def test_every_schedule_begins_there() -> None:
    tasks = family()
    batch = tasks.batch(0, 2)
    start = learner(ours(), tasks, steps=0)[0].curve(batch)[0]
    for options in (
        {"schedule": "head-first", "head_steps": 1},
        {"schedule": "rotating"},
        {"schedule": "head-first", "head_steps": 1, "linearised": True},
    ):
        found = learner(ours(), tasks, steps=2, rate=0.1, **options)[0].curve(batch)
        torch.testing.assert_close(found[0], start, rtol=0, atol=1e-9)
        assert float((found[1] - start).abs().max()) > 1e-4, options


def test_a_task_of_fewer_classes_is_answered_alike_in_any_batch() -> None:
    tasks = family(ways=4)
    four, (one, inside) = tasks.batch(0, 1), learner(ours(), tasks, steps=2, rate=0.1)
    support_x, query_x = one.reworded(four.support_x), one.reworded(four.query_x)
    in_two, asked = four.support_y < 2, four.query_y < 2
    fill = lambda x, kept, empty: torch.cat([x, torch.where(kept, x, empty)])
    ragged = TaskBatch(
        fill(support_x, in_two.unsqueeze(-1), 0), fill(four.support_y, in_two, IGNORE),
        fill(query_x, asked.unsqueeze(-1), 0), fill(four.query_y, asked, IGNORE),
    )  # fmt: skip
    alone = TaskBatch(*(part[kept][None] for part, kept in (
        (support_x, in_two), (four.support_y, in_two), (query_x, asked), (four.query_y, asked))))  # fmt: skip
    found, expected = inside.curve(ragged)[:, 1, asked[0], :2], inside.curve(alone)[:, 0]
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-9)


def test_an_addition_moves_what_begins_as_words_and_nothing_else(tmp_path: Path) -> None:
    pytest.importorskip("transformers", reason="the extra text is not installed")
    from metaft.assembly.learners import build_entrants
    from metaft.learners.spec import parse
    from metaft.settings.config import RunConfig, validated

    file = tmp_path / "own.toml"
    file.write_text(
        '[words]\ndog = "big"\nking = "happy"\ncar = "day"\nneighbour = "mom"\n'
        '[[pattern]]\nname = "own"\ntext = "{text}. It was {answer}"\n'
    )
    tasks: Any = family(tokenizer.asked("stories260k", ()))
    config, batch = validated(RunConfig, {}), tasks.batch(0, 2)
    make = lambda spec: build_entrants([parse(spec)], {1: tasks}, config, (0,), None)[0].make()
    expected = make(f"in-context:backbone=stories260k,shots=0,pattern={file}").curve(batch)[0]
    of_words = f"fine-tuning:backbone=stories260k,head=words,pattern={file},steps=1,rate=0.1"
    for more in ("", ",addition=lora:rank=2,scope=lora", ",scope=norms,!head"):
        one: Any = make(of_words + more)
        before = copy.deepcopy(one.params)
        found = one.curve(batch)
        torch.testing.assert_close(found[0].log_softmax(-1), expected.log_softmax(-1), rtol=0, atol=1e-5)
        assert float((found[1] - found[0]).abs().max()) > 1e-4
        assert all(torch.equal(before[name], value) for name, value in one.params.items())
    told = one.describe()
    assert (told["head"], told["pattern"], told["adapts"]) == ("words", "{text}. It was {answer}", 11 * 64)
    assert told["words"].startswith("dog: big; king: happy")
    with pytest.raises(MetaftError, match=r"head 'words' begins as .* behind a pattern, and there is none; give one"):
        make("fine-tuning:backbone=stories260k,head=words")
    with pytest.raises(MetaftError, match="features are others; leave features, pool and length out"):
        make(of_words.replace("stories260k", "stories260k:pool=mean"))


def test_what_does_not_go_together_is_one_line() -> None:
    tasks = family()
    batch = tasks.batch(0, 1)
    for model in (
        build("conv4", outputs=2, input_shape=(1, 16, 16), seed=0),
        build("transformer", outputs=2, seed=0, width=8, heads=2),
    ):
        with pytest.raises(MetaftError, match="does not go on with a text; head 'words' needs a network that reads in"):
            learner(model, tasks)
    with pytest.raises(MetaftError, match=r"head 'words' begins as .* behind a pattern, and there is none"):
        FineTuning(ours(), head="words")
    with pytest.raises(
        MetaftError, match=r"objective 'kl' holds .*; hold what the network says of words, by objective"
    ):
        learner(ours(), tasks, objective="kl")
    with pytest.raises(MetaftError, match="head 'words' scores the words of classes, and this is a regression"):
        learner(ours(), tasks)[0].adapt(batch.support_x, torch.zeros(1, 2, 1))
