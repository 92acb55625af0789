"""Trains the built-in network from a folder of pictures: the loop below is the whole method.

    python -m training.train --pictures DIR --scale 2 --minutes 35 --out builtin_x2.safetensors

The learning rate follows a cosine over the minutes given, however fast the machine is; with
--steps instead, the same seed on the same machine gives the same weights.
"""

import argparse
import json
import logging
import math
import time
from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch.nn import functional as F

from inference.network import BLOCKS, CHANNELS, Network
from training import pictures

PEAK_RATE, LAST_RATE, WARM_STEPS = 1e-3, 1e-6, 100
EMA_DECAY = 0.999
VALIDATION_CROP_PX = 128

log = logging.getLogger("training")


def main(argv: Sequence[str] | None = None) -> None:
    """Train, validating and saving as it goes; go on from `--state` where that file exists."""
    args = arguments(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.manual_seed(args.seed)
    dice = np.random.default_rng(args.seed)

    train = pictures.load(args.pictures, split="train", scale=args.scale)
    held_out = pictures.load(args.pictures, split="val", scale=args.scale)
    log.info("decoded %d pictures to train on and %d to validate with", len(train), len(held_out))

    network = Network(scale=args.scale)
    if args.start_from:
        adopt_body(network, args.start_from)
    average = deepcopy(network).requires_grad_(False)
    optimizer = torch.optim.Adam(network.parameters(), lr=PEAK_RATE, fused=True)
    step, spent_s = 0, 0.0
    if args.state and args.state.exists():
        state = torch.load(args.state, weights_only=True)
        network.load_state_dict(state["network"])
        average.load_state_dict(state["average"])
        optimizer.load_state_dict(state["optimizer"])
        dice.bit_generator.state = json.loads(state["dice"])
        step, spent_s = state["step"], state["spent_s"]

    begun_s = time.monotonic() - spent_s
    while True:
        spent_s = time.monotonic() - begun_s
        done = step / args.steps if args.steps else spent_s / (60 * args.minutes)
        if step % args.validate_every == 0 or done >= 1:
            quality = validate(average, held_out, scale=args.scale)
            log.info("step %d, %.0f %%, %.0f s: %s", step, 100 * done, spent_s, quality)
            save(average, args.out, credit=args.credit, steps=step)
            if args.state:
                state = {
                    "network": network.state_dict(),
                    "average": average.state_dict(),
                    "optimizer": optimizer.state_dict(),
                    "dice": json.dumps(dice.bit_generator.state),
                    "step": step,
                    "spent_s": spent_s,
                }
                torch.save(state, args.state)
        if done >= 1:
            return

        rate = LAST_RATE + (PEAK_RATE - LAST_RATE) * (1 + math.cos(math.pi * done)) / 2
        for group in optimizer.param_groups:
            group["lr"] = rate * min(1, (step + 1) / WARM_STEPS)

        small, large = pictures.batch(
            train, dice, size=args.batch, crop_px=args.crop, degraded_share=args.degraded_share
        )
        with torch.autocast("cpu", torch.bfloat16):  # twice as fast; the weights stay fp32
            enlarged = network(small)
        loss = F.l1_loss(enlarged, large)
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()

        step += 1
        share = 1 - min(EMA_DECAY, step / (step + 9))  # at first the average is all of the latest
        for kept, latest in zip(average.parameters(), network.parameters(), strict=True):
            kept.lerp_(latest.detach(), share)


def adopt_body(network: Network, path: Path) -> None:
    """Take over all weights of another scale's network but the last convolution."""
    body = {name: tensor.float() for name, tensor in load_file(path).items() if "tail" not in name}
    missing = network.load_state_dict(body, strict=False).missing_keys
    if missing != ["tail.weight", "tail.bias"]:
        raise SystemExit(f"{path} is not a network of this shape: it lacks {missing}")


@torch.inference_mode()
def validate(network: Network, held_out: list[pictures.Pair], *, scale: int) -> str:
    """Mean PSNR in RGB over the middles of the held-out pictures: clean, and as JPEG quality 75."""
    clean_db: list[float] = []
    jpeg_db: list[float] = []
    for pair in held_out:
        small, large = pictures.middle(pair, side_px=VALIDATION_CROP_PX, scale=scale)
        truth = pictures.as_tensor([large])
        jpeg = pictures.recompressed(small, quality=75, subsampling=2)
        for given, psnrs_db in ((small, clean_db), (jpeg, jpeg_db)):
            error = network(pictures.as_tensor([given])).clamp(0, 1) - truth
            psnrs_db.append(-10 * math.log10(error.square().mean().item() + 1e-10))
    return f"{np.mean(clean_db):.3f} dB clean, {np.mean(jpeg_db):.3f} dB from JPEG"


def save(network: Network, path: Path, *, credit: str, steps: int) -> None:
    """Write half-precision weights and what they are, whole or not at all."""
    tensors = {name: tensor.half() for name, tensor in network.state_dict().items()}
    about = {
        "architecture": "span",
        "scale": str(network.scale),
        "channels": str(CHANNELS),
        "blocks": str(BLOCKS),
        "steps": str(steps),
        "licence": "Apache-2.0",
        "training_set": credit,
    }
    fresh = path.with_suffix(".fresh")
    save_file(tensors, fresh, metadata=about)
    fresh.replace(path)


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=Path, required=True, help="a folder with manifest.csv")
    parser.add_argument("--scale", type=int, choices=(2, 4), required=True)
    length = parser.add_mutually_exclusive_group(required=True)
    length.add_argument("--minutes", type=float)
    length.add_argument("--steps", type=int)
    parser.add_argument("--out", type=Path, required=True, help="the weights, as safetensors")
    parser.add_argument("--state", type=Path, help="a checkpoint to keep and to go on from")
    parser.add_argument("--start-from", type=Path, help="weights of another scale")
    parser.add_argument("--credit", default="", help="the training set's credit line")
    parser.add_argument("--batch", type=int, default=8, help="crops a step")
    parser.add_argument("--crop", type=int, default=48, help="a crop's side before enlarging, px")
    parser.add_argument("--degraded-share", type=float, default=0.55, help="of the crops")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--validate-every", type=int, default=1000, help="steps")
    return parser.parse_args(argv)


if __name__ == "__main__":
    main()
