"""WebP and AVIF, which are compressed as whole pictures: all rows are kept until the last."""

from abc import abstractmethod
from typing import Any

from PIL import Image

from inference.colour import as_srgb
from inference.encoders.encoder import Encoder, Rows, eight_bits

WEBP_QUALITY = 95
AVIF_QUALITY = 90
AVIF_SPEED = 9
"""Of 0 to 10; three times as fast as 8 at the same size and error."""


class WholeEncoder(Encoder):
    """8 bits; without grey, and without a place for the density other than EXIF."""

    @property
    def _band_px(self) -> int:
        return self._shape.height_px

    def _start(self) -> None:
        pass

    def _encode(self, band: Rows) -> None:
        image, icc = _prepared(band, self._metadata.icc)
        image.save(
            self._sink,
            icc_profile=icc or b"",
            exif=self._metadata.exif or b"",
            xmp=self._metadata.xmp or b"",
            **self._options(),
        )

    def _finish(self) -> None:
        pass

    @abstractmethod
    def _options(self) -> dict[str, Any]:
        """How Pillow is to save."""


class WebpEncoder(WholeEncoder):
    """Lossy WebP at quality 95, alpha without loss."""

    def _options(self) -> dict[str, Any]:
        return {"format": "WEBP", "quality": WEBP_QUALITY}


class AvifEncoder(WholeEncoder):
    """Lossy AVIF at quality 90 with full chroma. Takes about 32 MB of memory for a megapixel."""

    def _options(self) -> dict[str, Any]:
        return {
            "format": "AVIF", "quality": AVIF_QUALITY, "subsampling": "4:4:4", "speed": AVIF_SPEED,
        }  # fmt: skip


def _prepared(band: Rows, icc: bytes | None) -> tuple[Image.Image, bytes | None]:
    """The picture as RGB or RGBA, and its profile; a grey one's is applied, for RGB has no use
    for it.
    """
    pixels = eight_bits(band)
    channels = pixels.shape[2]
    if channels >= 3:
        return Image.fromarray(pixels), icc
    image = Image.fromarray(pixels[..., 0])
    image = image.convert("RGB") if icc is None else as_srgb(image, icc)
    if channels == 2:
        image.putalpha(Image.fromarray(pixels[..., 1]))
    return image, None
