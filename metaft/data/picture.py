"""One picture as every viewer shows it: turned as the camera was held, and what is transparent laid on white."""

from __future__ import annotations

from contextlib import suppress

from PIL import Image, ImageOps

from metaft.errors import MetaftError

VERSION = 2
"""Of what becomes of a file's pixels: part of the names of caches, so that older ones are not used. Before version 2
images were neither turned nor laid on white."""


def shown(image: Image.Image, where: object) -> Image.Image:
    """The first frame as viewers show it.

    Args:
        image: as Pillow opened it.
        where: the file, for the message.

    Returns:
        Red, green and blue, 8 bits each, nothing transparent.

    Raises:
        MetaftError: if it has more than 8 bits a channel, or is drawn so that nothing is left of it on white.
    """
    if image.mode[0] in "IF":
        raise MetaftError(f"{where} has more than 8 bits a channel; convert it to an 8-bit image")
    image.load()  # what cannot be decoded is to be said here, not passed over below
    with suppress(Exception):  # a damaged note on how the camera was held: viewers show such an image as it is
        image = ImageOps.exif_transpose(image)
    if not _may_be_transparent(image):
        return image.convert("RGB")
    seen = image.convert("LA").convert("RGBA") if image.mode == "La" else image.convert("RGBA")
    laid = Image.alpha_composite(Image.new("RGBA", seen.size, "white"), seen).convert("RGB")
    if is_plain(laid) and not (is_plain(seen) and seen.getchannel("A").getextrema()[1]):
        raise MetaftError(
            f"{where} is transparent, and laid on white nothing is left of it (is it drawn in white?); "
            "give it a ground of another colour, or remove it"
        )
    return laid


def is_plain(image: Image.Image) -> bool:
    """Whether all pixels have one value."""
    extrema = image.getextrema()
    bands = extrema if isinstance(extrema[0], tuple) else (extrema,)
    return all(low == high for low, high in bands)


def _may_be_transparent(image: Image.Image) -> bool:
    palette = getattr(image.palette, "mode", "") if image.mode == "P" else ""
    return "transparency" in image.info or "A" in palette or image.mode in ("RGBA", "LA", "PA", "RGBa", "La")
