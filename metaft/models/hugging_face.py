"""Encoders and causal models of Hugging Face as networks of ours: text in, answers out, differentiable twice."""

from __future__ import annotations

from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn.functional import softmax

from metaft.data.texts.labelled_texts import PADDING
from metaft.errors import MetaftError, first_line
from metaft.models.pretrained import folder_of
from metaft.models.transformer import additive_mask, pooled

ATTENTION = "metaft"
"""What our attention is called among theirs."""


class HuggingFace(nn.Module):
    """A model of Hugging Face's, the mean (or last) place, a linear head.

    Padding is number 0, and is hidden by an additive mask of ours: theirs branch on its values, which tasks cannot do
    together. Attention is written out, as the fused one has no second derivative on a CPU.

    Args:
        model: answers with ``last_hidden_state`` for ``input_ids`` and a 4-dimensional ``attention_mask``.
        outputs: how many numbers it answers with.
        causal: whether a place sees only those before it; the last place answers then, else the mean.
    """

    head_layer = "head"

    def __init__(self, model: nn.Module, outputs: int, causal: bool) -> None:
        super().__init__()
        self.model, self.causal = model, causal
        width = int(model.config.hidden_size)  # type: ignore[union-attr, arg-type]
        self.head = nn.Linear(width, outputs)

    @classmethod
    def fitting(
        cls, outputs: int, input_shape: tuple[int, ...], *, path: str, weights: str = "pretrained", **unknown: Any
    ) -> Self:
        """The network for texts.

        Args:
            outputs: how many numbers it answers with.
            input_shape: ``(places,)``, of the longest text; empty if nobody says it.
            path: a pretrained model's name or folder, see `pretrained.folder_of`.
            weights: "pretrained", or "random" for the same network drawn anew.
            unknown: no other option is known.

        Raises:
            MetaftError: if there is no such model, it cannot be read, texts are longer than it has places for, its
                direction is not clear, or its answers hang on padding.
        """
        if unknown:
            raise MetaftError(f"hf:{path} has no option {next(iter(unknown))!r}; known: weights")
        if weights not in ("pretrained", "random"):
            raise MetaftError(f"hf:{path}: weights = {weights}: should be 'pretrained' or 'random'")
        transformers = _library()
        folder = folder_of(path)
        try:
            config = transformers.AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
            config._attn_implementation = ATTENTION
            how: dict[str, Any] = {"dtype": torch.float32, "attn_implementation": ATTENTION, "trust_remote_code": False}
            if weights == "random":
                model = transformers.AutoModel.from_config(config, **how)
            else:
                how |= {"use_safetensors": True, "local_files_only": True}
                model = transformers.AutoModel.from_pretrained(folder, config=config, **how)
        except (OSError, ValueError, KeyError, RuntimeError) as error:
            raise MetaftError(f"hf:{path} cannot be read: {first_line(error)}") from None
        if getattr(model, "pooler", None) is not None:
            model.pooler = None  # of sentence order; nothing here asks it
        most = getattr(config, "max_position_embeddings", None)
        if input_shape and most is not None and input_shape[0] > most:
            raise MetaftError(f"hf:{path} has {most} places, and these texts up to {input_shape[0]} words; cut them")
        made = cls(model, outputs, _is_causal(model, path))
        made._require_padding(path)
        return made

    def _require_padding(self, path: str) -> None:
        """Refuse a model whose answers hang on padding all the same, such as one that counts places by it."""
        ids = torch.tensor([[5, 7, 6]])
        training = self.training
        with torch.no_grad():
            plain, padded = (self.eval().states(nn.functional.pad(ids, (0, more)))[-1] for more in (0, 2))
        self.train(training)
        if not torch.allclose(plain, padded[:, :3], rtol=1e-4, atol=2e-5):
            raise MetaftError(f"hf:{path} answers otherwise where a text is padded with number {PADDING}; use another")

    def states(self, ids: Tensor) -> list[Tensor]:
        """The residual stream after the embedding and after each block.

        Args:
            ids: ``int64 [examples, places]``, 0 for padding.

        Returns:
            layers + 1 times ``[examples, places, width]``.
        """
        return list(self._run(ids, output_hidden_states=True).hidden_states)

    def forward(self, ids: Tensor) -> Tensor:
        """Answers for texts.

        Args:
            ids: ``int64 [examples, places]``, 0 for padding.

        Returns:
            ``[examples, outputs]``.
        """
        return self.head(pooled(self._run(ids).last_hidden_state, ids, self.causal))

    def _run(self, ids: Tensor, **more: Any) -> Any:
        mask = additive_mask(ids, self.causal, next(self.model.parameters()).dtype)
        mask = mask.expand(-1, -1, ids.shape[-1], -1)
        return self.model(input_ids=ids, attention_mask=mask, **({"use_cache": False} if self.causal else {}), **more)


def _is_causal(model: nn.Module, path: str) -> bool:
    """Whether a place sees only those before it, as the model's attention layers say."""
    said = {bool(part.is_causal) for part in model.modules() if hasattr(part, "is_causal")}
    if len(said) != 1:
        raise MetaftError(
            f"hf:{path}: whether a {type(model).__name__} reads in one direction or in both is not clear from its "
            "layers; only encoders and causal models can be used"
        )
    return said.pop()


def written_out(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None,
    scaling: float | None = None, dropout: float = 0.0, **_: Any,
) -> tuple[Tensor, None]:  # fmt: skip
    """Attention in plain operations, as Hugging Face's interface wants it.

    Args:
        module: the layer.
        query: ``[examples, heads, places, size]``.
        key: likewise, perhaps of fewer heads.
        value: likewise.
        attention_mask: added to the scores.
        scaling: of the scores; one over the root of the size if None.
        dropout: share of weights that is dropped in training.

    Returns:
        ``[examples, places, heads, size]``, and None for the weights.
    """
    if key.shape[1] < query.shape[1]:
        key, value = (x.repeat_interleave(query.shape[1] // key.shape[1], dim=1) for x in (key, value))
    scores = query @ key.transpose(-1, -2) * (query.shape[-1] ** -0.5 if scaling is None else scaling)
    weights = softmax(scores if attention_mask is None else scores + attention_mask, dim=-1)
    weights = nn.functional.dropout(weights, dropout, module.training)
    return (weights @ value).transpose(1, 2).contiguous(), None


def _library() -> Any:
    try:
        import transformers
        from transformers import AttentionInterface, AttentionMaskInterface
        from transformers.masking_utils import eager_mask
    except ImportError:
        raise MetaftError("models of Hugging Face need the extra text: pip install 'metaft[text]'") from None
    AttentionInterface.register(ATTENTION, written_out)
    AttentionMaskInterface.register(ATTENTION, eager_mask)
    return transformers
