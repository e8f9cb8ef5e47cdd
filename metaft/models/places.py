"""How many words a text may have for a network, known before it is made."""

from __future__ import annotations

from metaft.models.pretrained import STORIES
from metaft.models.transformer import Transformer
from metaft.parts import convert
from metaft.plugins import foreign, is_import_path, named_part
from metaft.tables import MODELS


def places_of(model: str) -> int | None:
    """How many words a text may have.

    Args:
        model: as `metaft.models.build` takes it.

    Returns:
        The number; None for any, or if the network does not say it.

    Raises:
        MetaftError: if there is no such pretrained model, its settings cannot be read, or an option is unknown.
    """
    if others := foreign(model):
        if others.name == STORIES:
            return None
        from metaft.models.hugging_face_files import places

        return places(others.name)
    asked = named_part(model, "model")
    if is_import_path(asked.name) or asked.name not in MODELS or MODELS[asked.name] is not Transformer:
        return None
    return Transformer.most_words(**convert(f"model {asked.name!r}", Transformer, asked.options, MODELS.supplied))
