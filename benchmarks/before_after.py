"""Makes the picture in the README: a small source beside what the program makes of it.

    python -m benchmarks.before_after PICTURE docs/before-after.png --crop 40 40 300 200

The picture is first reduced to a quarter, which is the source; the left half shows the source's own
pixels, the right half the engine's enlargement, in the place that `--crop` names on the picture.
"""

import argparse
import io
from pathlib import Path

from PIL import Image

from inference.engine import Engine
from inference.params import Factor, UpscaleParams

FACTOR: Factor = 4
GAP_PX = 6


def main() -> None:
    """Read, reduce, enlarge, and put both halves side by side."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("picture", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument(
        "--crop", type=int, nargs=4, required=True, metavar=("X", "Y", "WIDTH", "HEIGHT")
    )
    args = parser.parse_args()
    x_px, y_px, width_px, height_px = args.crop
    box = (x_px, y_px, x_px + width_px, y_px + height_px)

    picture = Image.open(args.picture).convert("RGB")
    size = (picture.width // FACTOR, picture.height // FACTOR)
    source = picture.resize(size, Image.Resampling.BICUBIC)
    pixels = source.resize((size[0] * FACTOR, size[1] * FACTOR), Image.Resampling.NEAREST)

    both = Image.new("RGB", (2 * width_px + GAP_PX, height_px), "white")
    both.paste(pixels.crop(box), (0, 0))
    both.paste(enlarged(source).crop(box), (width_px + GAP_PX, 0))
    both.save(args.out, optimize=True)


def enlarged(source: Image.Image) -> Image.Image:
    """What the engine makes of the source."""
    file = io.BytesIO()
    source.save(file, "PNG")
    params = UpscaleParams(
        model="topaz-image-upscale", slot="standard-v2", factor=FACTOR, output_format="png"
    )
    sink = io.BytesIO()
    Engine().upscale(file.getvalue(), params, sink=sink, progress=lambda _done, _of: None)
    return Image.open(sink)


if __name__ == "__main__":
    main()
