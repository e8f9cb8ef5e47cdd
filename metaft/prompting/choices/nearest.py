"""The nearest examples of each query (Liu et al. 2022)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Literal, get_args

import torch
from torch import Tensor

from metaft.data.texts.labelled_texts import Text
from metaft.errors import MetaftError, nearest
from metaft.models import build
from metaft.plugins import is_foreign
from metaft.prompting.choices.choice import Candidates, Chooser, Places
from metaft.prompting.text_features import Features, of_network, own_states, tf_idf
from metaft.validate import require_count

WORDS, MODEL = "tf-idf", "model"
NearestOrder = Literal["nearest-last", "nearest-first"]


@dataclass(frozen=True)
class Nearest:
    """Each query's own demonstrations: the support examples nearest to it (KATE, Liu et al. 2022, algorithm 1).

    Near is the cosine of two texts' vectors. The paper takes RoBERTa, perhaps fine-tuned; here no second model is
    needed. Equally near examples stand in an order of the learner's seed.

    Args:
        count: of examples.
        per_class: whether that many of each class are taken.
        order: "nearest-last", beside the query, or "nearest-first".
        features: of texts: "tf-idf", over the support set; "model", the mean of the answering model's last states; or
            those of a pretrained model, such as hf:minilm.
    """

    count: int = 4
    per_class: bool = False
    order: NearestOrder = "nearest-last"
    features: str = WORDS
    own: ClassVar[bool] = True

    def __post_init__(self) -> None:
        require_count(self.count, "count of choice nearest", 1)
        if self.order not in get_args(NearestOrder):
            raise MetaftError(
                f"choice nearest has no order {self.order!r}{nearest(self.order, get_args(NearestOrder))}"
            )
        if self.features not in (WORDS, MODEL) and not is_foreign(self.features):
            hint = nearest(self.features, (WORDS, MODEL, "hf:minilm"))
            raise MetaftError(
                f"choice nearest: unknown features {self.features!r}{hint}; take tf-idf, model, or a pretrained model, "
                "such as hf:minilm"
            )
        if is_foreign(self.features):
            of_network(self._network, "choice nearest")  # a mistake is said at once

    @cached_property
    def _network(self) -> Any:
        return build(self.features, outputs=1, seed=0).eval()

    @cached_property
    def _of_network(self) -> Features:
        return of_network(self._network, "choice nearest")

    def weights(self) -> dict[str, Tensor]:
        """As `Choice`."""
        return dict(self._network.state_dict(prefix="choice.")) if is_foreign(self.features) else {}

    def chooser(self, candidates: Candidates) -> Chooser:
        """As `Choice`."""
        candidates.require(self.count, self.per_class, "nearest")
        features = self._features(candidates)
        rows = torch.nn.functional.normalize(torch.stack([features(text) for text in candidates.texts]), dim=-1)

        def chosen(query: Text) -> Places:
            near = (rows @ torch.nn.functional.normalize(features(query), dim=-1)).round(decimals=9)  # ties stay ties
            places = near.argsort(descending=True, stable=True).tolist()
            kept = candidates.of_classes(places) if self.per_class else [places]
            taken = {place for own in kept for place in own[: self.count]}
            found = tuple(place for place in places if place in taken)
            return found if self.order == "nearest-first" else found[::-1]

        return chosen

    def _features(self, candidates: Candidates) -> Features:
        if self.features == WORDS:
            return tf_idf(candidates.texts)
        if self.features == MODEL:
            return own_states(candidates.model, candidates.tokenizer)
        return self._of_network
