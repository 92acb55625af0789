"""How fast the creative engine is, against the stock pipeline and against the device's own peak.

    python -m benchmarks.creative --device cuda [--compile] [--json FILE]

Weights are random: of the shapes of Stable Diffusion 1.5 on a CUDA device, of narrower ones on a
processor. The knobs are at their defaults. The stock pipeline is diffusers' image-to-image one with
a ControlNet, given one tile after the other, each as large as our windows.
"""

import argparse
import json
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from diffusers import (
    AutoencoderKL,
    ControlNetModel,
    DPMSolverMultistepScheduler,
    StableDiffusionControlNetImg2ImgPipeline,
    UNet2DConditionModel,
)
from diffusers.utils import logging
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.report import Row, print_table, write_results
from benchmarks.throughput import finish, peak_flops
from inference.creative.autoencoder import LATENT_PX, Autoencoder
from inference.creative.denoiser import Denoiser, Noise
from inference.creative.diffusion import CARD_SIZES, Diffusion, Tuning
from inference.creative.modules import SD15
from inference.creative.pipeline import Pipeline
from inference.creative.schedule import noise_levels
from inference.devices import Sizes, device_named
from inference.params import CreativeParams
from inference.picture import Canvas
from inference.runner import Progress
from inference.tiling import Windows

KNOBS = CreativeParams(
    prompt="masterpiece, best quality, highres",
    negative_prompt="worst quality, low quality, normal quality",
    creativity=0.35,
    resemblance=0.6,
    dynamic=6,
    steps=18,
    sharpen=0,
    seed=1,
)
PROMPT_TOKENS = 77
ASKED_SHARE_OF_PEAK, ASKED_MEGAPIXELS_A_SECOND, ASKED_TIMES_STOCK = 0.4, 3.0, 4.0
"""All of a Hopper card, in fp16."""

NARROW: Mapping[str, Mapping[str, Any]] = {
    "unet": {"block_out_channels": (32, 64, 64, 64), "cross_attention_dim": 64},
    "controlnet": {"block_out_channels": (32, 64, 64, 64), "cross_attention_dim": 64},
    "vae": {"block_out_channels": (32, 32, 32, 32)},
}


class Bench(NamedTuple):
    """What fits a device: the source's side, our windows and batches, and how wide the networks."""

    side_px: int
    sizes: Sizes
    shapes: Mapping[str, Mapping[str, Any]]
    runs: int


BENCHES = {
    "cuda": Bench(1024, CARD_SIZES, shapes={}, runs=3),
    "cpu": Bench(64, Sizes(Windows(56, 56), batch_tiles=1), shapes=NARROW, runs=1),
}


class Spoken:
    """A prompt that is embedded already."""

    def __init__(self, embedded: Tensor) -> None:
        self._embedded = embedded

    def embedded(self, _prompt: str, _negative: str) -> Tensor:
        """The same for every prompt."""
        return self._embedded


class Networks(NamedTuple):
    """Random weights on their device, and a prompt for them, (2, tokens, width)."""

    unet: UNet2DConditionModel
    controlnet: ControlNetModel
    vae: AutoencoderKL
    prompt: Tensor


def main() -> None:
    """Measure, print, and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--compile", action="store_true", help="our networks")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    logging.disable_progress_bar()
    device = device_named(args.device)
    kind = device.torch_device.type
    peak = peak_flops(device)
    rows = [
        Row(f"matrix peak of {kind}, TFLOP/s", None, round(peak / 1e12, 3), "16 bits"),
        *speed(device.torch_device, peak=peak, is_compiled=args.compile),
    ]
    if kind == "cuda":
        rows += memory(device.torch_device)
    print_table(f"Creative enlargement on {kind}", rows)
    write_results(args.json or Path(f"benchmarks/results/creative-{kind}.json"), rows)


def speed(device: torch.device, *, peak: float, is_compiled: bool) -> Iterator[Row]:
    """By two: ours, the stock pipeline's, how often the one is the other, the share of the peak."""
    bench = BENCHES[device.type]
    canvas = picture(bench.side_px)
    megapixels = canvas[..., 0].size * 4 / 1e6
    given = networks(device)
    tiles = stock(given)
    plain = megapixels / best_s(lambda: tile_by_tile(tiles, canvas, given), runs=bench.runs)
    pipeline = ours(given, device, is_compiled=is_compiled)
    made_s = best_s(lambda: enlarged(pipeline, canvas, factor=2), runs=bench.runs)
    on_a_card = device.type == "cuda"
    note = f"{2 * bench.side_px} px a side, {'compiled' if is_compiled else 'eager'}"
    yield Row("seconds for an output megapixel", None, round(made_s / megapixels, 3), note)
    rate = round(megapixels / made_s, 4)
    yield Row("output MP/s", ASKED_MEGAPIXELS_A_SECOND if on_a_card else None, rate, note)
    yield Row("stock pipeline, output MP/s", None, round(plain, 4), "one tile after the other")
    times = round(megapixels / made_s / plain, 2)
    yield Row("times the stock pipeline", ASKED_TIMES_STOCK if on_a_card else None, times)
    share = work_flops(device) / made_s / peak
    asked = ASKED_SHARE_OF_PEAK if on_a_card else None
    yield Row("share of the peak", asked, round(share, 3), "overlaps of windows count as lost")


def memory(device: torch.device) -> Iterator[Row]:
    """Of the device, for a doubling, and for three to 8,192 px; the latents come on top."""
    pipeline = ours(networks(device), device, is_compiled=False)
    peaks_mb = {}
    for factor in (2, 8):
        torch.cuda.reset_peak_memory_stats()
        enlarged(pipeline, picture(1024), factor=factor)
        peaks_mb[factor] = torch.cuda.max_memory_allocated() / 1e6
    latents = 8192 // LATENT_PX
    latents_mb = 4 * 4 * latents**2 / 1e6  # four channels of four bytes
    yield Row("MB on the device, 1,024 px by 2", None, round(peaks_mb[2]))
    most_mb = peaks_mb[2] + 8 * latents_mb  # noisy, clean, the one before, and what makes them
    yield Row(
        "MB on the device, 1,024 px by 8",
        round(most_mb),
        round(peaks_mb[8]),
        f"latents: {latents_mb:.0f} MB",
        reached=peaks_mb[8] <= most_mb,
    )


def networks(device: torch.device) -> Networks:
    """Random networks of the shapes that the device gets."""
    torch.manual_seed(0)
    half = torch.float16 if device.type == "cuda" else torch.float32
    made = {}
    classes = {"unet": UNet2DConditionModel, "controlnet": ControlNetModel, "vae": AutoencoderKL}
    for name, kind in classes.items():
        shape = json.loads((SD15 / name / "config.json").read_text())
        with torch.device(device):
            network = kind.from_config(shape | BENCHES[device.type].shapes.get(name, {}))
        nn.Module.to(network, half)  # diffusers' own warns of other models
        network.to(memory_format=torch.channels_last)
        made[name] = network.eval().requires_grad_(False)
    width = made["unet"].config.cross_attention_dim
    prompt = torch.randn(2, PROMPT_TOKENS, width, device=device, dtype=half)
    return Networks(**made, prompt=prompt)


def ours(given: Networks, device: torch.device, *, is_compiled: bool) -> Pipeline:
    """Our pipeline of these networks."""
    tuning = Tuning(sizes=BENCHES[device.type].sizes, is_compiled=is_compiled)
    denoiser = Denoiser(given.unet, given.controlnet)
    return Pipeline(
        Spoken(given.prompt),
        Autoencoder(given.vae),
        diffusion=Diffusion(denoiser, device, tuning=tuning),
        name="random",
    )


def enlarged(pipeline: Pipeline, canvas: Canvas, *, factor: int) -> Canvas:
    """Through the pipeline, its faithful part being the cheapest there is."""

    def repeated(each: Canvas, _tell: Progress) -> Canvas:
        return each.repeat(2, axis=0).repeat(2, axis=1)

    return pipeline.enlarged(
        canvas,
        KNOBS,
        factor=factor,  # type: ignore[arg-type]
        restore=repeated,
        double=repeated,
        progress=lambda *_: None,
    )


def stock(given: Networks) -> StableDiffusionControlNetImg2ImgPipeline:
    """The stock pipeline of the same networks, as they are before ours takes them over."""
    pipeline = StableDiffusionControlNetImg2ImgPipeline(
        vae=given.vae,
        text_encoder=None,
        tokenizer=None,
        unet=given.unet,
        controlnet=given.controlnet,
        scheduler=DPMSolverMultistepScheduler(use_karras_sigmas=True),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def tile_by_tile(
    pipeline: StableDiffusionControlNetImg2ImgPipeline, canvas: Canvas, given: Networks
) -> None:
    """The stock pipeline over tiles side by side, from the same enlargement."""
    large = canvas.repeat(2, axis=0).repeat(2, axis=1).astype(np.float32) / 65_535
    high, wide = (LATENT_PX * side for side in BENCHES[given.prompt.device.type].sizes.windows)
    whole = torch.from_numpy(large).permute(2, 0, 1)[None]
    for top in range(0, large.shape[0], high):
        for left in range(0, large.shape[1], wide):
            tile = whole[..., top : top + high, left : left + wide]
            pipeline(
                prompt_embeds=given.prompt[1:],
                negative_prompt_embeds=given.prompt[:1],
                image=tile,
                control_image=tile,
                num_inference_steps=KNOBS.steps,
                strength=KNOBS.creativity,
                guidance_scale=KNOBS.dynamic,
                controlnet_conditioning_scale=KNOBS.resemblance,
                output_type="np",
            )


@torch.inference_mode()
def work_flops(device: torch.device) -> float:
    """What a doubling takes of multiplications and additions, no pixel done twice."""
    bench = BENCHES[device.type]
    given = networks(device)
    denoiser = Denoiser(given.unet, given.controlnet)
    denoiser.listen(given.prompt)
    rows, columns = bench.sizes.windows
    latents = torch.randn(1, 4, rows, columns, device=device)
    pixels = torch.rand(1, 3, LATENT_PX * rows, LATENT_PX * columns, device=device)
    noise = Noise.of(1.0, device=device)
    steering = denoiser.steering(dynamic=KNOBS.dynamic, resemblance=KNOBS.resemblance)
    hints = denoiser.hint(pixels)
    with FlopCounterMode(display=False) as step:
        denoiser(latents, hints, noise, steering, 2)
    with FlopCounterMode(display=False) as around:
        given.vae.decode(given.vae.encode(pixels.to(given.vae.dtype)).latent_dist.mode())
        denoiser.hint(pixels)
    steps = len(noise_levels(KNOBS.steps, KNOBS.creativity)) - 1
    of_window = steps * step.get_total_flops() + around.get_total_flops()
    return float(of_window) * (2 * bench.side_px) ** 2 / pixels[0, 0].numel()


def picture(side_px: int) -> Canvas:
    """Noise."""
    dice = np.random.default_rng(0)
    return dice.integers(0, 65_536, (side_px, side_px, 3), dtype=np.uint16)


def best_s(work: Any, *, runs: int) -> float:
    """The shortest time over the runs, after one to warm up; the device has finished at the end."""
    work()
    times_s = []
    for _ in range(runs):
        begun_s = time.perf_counter()
        work()
        finish()
        times_s.append(time.perf_counter() - begun_s)
    return min(times_s)


if __name__ == "__main__":
    main()
