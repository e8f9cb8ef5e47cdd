"""stories260k: the text that its page shows, its loss on stories, and the same answers as Hugging Face's Llama."""

from __future__ import annotations

import gzip
import json
import re
from functools import lru_cache
from pathlib import Path

import pytest
import torch
from torch import nn

import metaft
from metaft.data.locate import roots
from metaft.data.texts import tokenizer
from metaft.errors import MetaftError
from metaft.models import build, stories
from metaft.models.transformer import Transformer

FOLDER = next((root / "stories260k" for root in roots() if (root / "stories260k").is_dir()), None)
pytestmark = pytest.mark.skipif(FOLDER is None, reason="there is no folder stories260k in the data root")


@lru_cache(maxsize=1)
def model() -> Transformer:
    found = build("stories260k", outputs=3, seed=0)
    assert isinstance(found, Transformer)
    return found.eval()


@torch.no_grad()
def greedy(start: str, words: int) -> str:
    """A text gone on with the likeliest word each time."""
    own = tokenizer.asked("stories260k", ())
    ids = own.encode((start,))[0].long().tolist()
    for _ in range(words):
        ids.append(int(model().words(torch.tensor([ids]))[0, -1].argmax()))
    return own.decode(ids)


def test_it_writes_the_story_of_its_page() -> None:
    assert FOLDER is not None
    page = (FOLDER / "stories260K.md").read_text(encoding="utf-8")
    story = re.search(r"-t 0\.0\n(.*?)\n```", page, flags=re.DOTALL).group(1)  # type: ignore[union-attr]
    written = greedy("", 80).strip()
    assert len(written) > 150
    assert story.startswith(written)


def test_its_loss_on_stories_is_that_of_its_author() -> None:
    assert FOLDER is not None
    file = FOLDER.parent / "tinystories" / "valid.jsonl.gz"
    if not file.is_file():
        pytest.skip("there is no tinystories/valid.jsonl.gz in the data root")
    with gzip.open(file, "rt", encoding="utf-8") as lines:
        texts = [json.loads(line)["text"] for line, _ in zip(lines, range(12), strict=False)]
    ids, offsets = tokenizer.asked("stories260k", ()).encode(texts, 512)
    total, count = 0.0, 0
    with torch.no_grad():
        for a, b in zip(offsets[:-1].tolist(), offsets[1:].tolist(), strict=True):
            words = ids[a:b].long()
            total += float(nn.functional.cross_entropy(model().words(words[None, :-1])[0], words[1:], reduction="sum"))
            count += b - a - 1
    assert total / count == pytest.approx(1.45, abs=0.03)


def test_words_are_spelled_in_pieces_and_in_bytes_where_there_is_none() -> None:
    own = tokenizer.asked("stories260k", ())
    assert own.vocabulary == 512
    ids, _ = own.encode(("Once upon a time, Lily saw a dog.\nÜ",))
    assert int(ids[0]) == stories.BEGIN
    assert int(ids.min()) > 0
    assert own.decode(ids.tolist()) == "Once upon a time, Lily saw a dog.\nÜ"


def test_it_is_hugging_faces_llama_with_the_same_weights() -> None:
    transformers = pytest.importorskip("transformers", reason="the extra text is not installed")
    ours = model()
    config = transformers.LlamaConfig(
        vocab_size=512, hidden_size=64, intermediate_size=ours.blocks[0].feed_forward.up.out_features,
        num_hidden_layers=5, num_attention_heads=8, num_key_value_heads=4, rms_norm_eps=1e-5, tie_word_embeddings=True,
    )  # fmt: skip
    theirs = transformers.LlamaForCausalLM(config).eval()
    names = {
        "attention.query": "self_attn.q_proj", "attention.key": "self_attn.k_proj",
        "attention.value": "self_attn.v_proj", "attention.output": "self_attn.o_proj",
        "feed_forward.gate": "mlp.gate_proj", "feed_forward.up": "mlp.up_proj",
        "feed_forward.down": "mlp.down_proj", "attention_norm": "input_layernorm",
        "feed_forward_norm": "post_attention_layernorm",
    }  # fmt: skip
    held = {"model.embed_tokens.weight": ours.embedding.words.weight, "model.norm.weight": ours.norm.weight}
    for i in range(5):
        for mine, other in names.items():
            held[f"model.layers.{i}.{other}.weight"] = ours.blocks[i].get_submodule(mine).weight
    theirs.load_state_dict(held, strict=False)
    ids = tokenizer.asked("stories260k", ()).encode(("Once upon a time there was a big dog",))[0].long()[None]
    with torch.no_grad():
        torch.testing.assert_close(ours.words(ids), theirs(input_ids=ids).logits, atol=1e-4, rtol=1e-4)


def test_it_is_a_network_like_any_other() -> None:
    options = build("stories260k:features=-2..+pool=mean", outputs=4, seed=0)
    ids = torch.randint(3, 500, (2, 7))
    assert options(ids).shape == (2, 4)
    random = build("stories260k:weights=random", outputs=3, seed=0)
    assert not torch.equal(random.embedding.words.weight, model().embedding.words.weight)  # type: ignore[union-attr]
    torch.testing.assert_close(model()(nn.functional.pad(ids, (0, 4))), model()(ids), atol=1e-5, rtol=0)
    family = metaft.families.episodes("intents", ways=3, queries=2, split="test", tokenizer="stories260k")
    learner = metaft.learners.MAML(model(), metaft.SGD(0.01), 1, scope="head,last:2", meta_scope="head")
    assert learner.meta_gradient(family.batch(0, 2).with_keys(0)).loss.isfinite()
    with pytest.raises(MetaftError, match="stories260k has no option 'layers'"):
        build("stories260k:layers=3", outputs=3, seed=0)


def test_another_file_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("METAFT_DATA", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(MetaftError, match="there is no folder stories260k"):
        build("stories260k", outputs=3, seed=0)
    (tmp_path / "stories260k").mkdir()
    with pytest.raises(MetaftError, match=r"cannot read .*stories260K.bin"):
        build("stories260k", outputs=3, seed=0)
    for content, said in ((b"abc", "is no file of weights"), (b"\1\0\0\0" * 7 + b"\0" * 400, "holds 100 numbers")):
        (tmp_path / "stories260k" / stories.WEIGHTS).write_bytes(content)
        with pytest.raises(MetaftError, match=said):
            build("stories260k", outputs=3, seed=0)
