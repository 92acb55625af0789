"""Trains one built-in network from a folder of pictures: the loop below is the whole method.

    python -m training.train --pictures DIR --scale 2 --width small --kind clean --steps 40000 \
        --out builtin_x2_small_clean.safetensors

The same seed and steps on the same machine give the same weights. With --minutes instead, the
learning rate follows its cosine over that time, however fast the machine is.
"""

import argparse
import logging
import math
import time
from collections.abc import Iterator, Sequence
from copy import deepcopy
from itertools import count
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.utils.data import DataLoader

from inference.networks.builtin import BLOCKS, WIDTHS, BuiltIn
from training.degradations import recompressed
from training.pictures import Crops, Pair, load, middle, planes
from training.warm_start import adopt

LAST_RATE_SHARE, WARM_STEPS = 1e-3, 100
EMA_DECAY = 0.999
SQUARED_FROM = 0.75  # of the run: PSNR is what is measured, and L1 gets near it faster
SQUARED_WEIGHT = 25  # makes its gradients as large as L1's at errors of five levels
MAX_GRADIENT = 0.1  # in norm; three times the usual: without it, a run may lose all at once
VALIDATION_CROP_PX = 128

log = logging.getLogger("training")


def main(argv: Sequence[str] | None = None) -> None:
    """Train, validating and saving as it goes; go on from `--state` where that file exists."""
    args = arguments(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.manual_seed(args.seed)
    if args.threads:
        torch.set_num_threads(args.threads)

    train = load(args.pictures, split="train", scale=args.scale)
    held_out = load(args.pictures, split="val", scale=args.scale)
    log.info("decoded %d pictures to train on and %d to validate with", len(train), len(held_out))

    network = BuiltIn(scale=args.scale, channels=WIDTHS[args.width])
    if args.start_from:
        adopt(network, args.start_from, dice=torch.Generator().manual_seed(args.seed))
    network.to(args.device)
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # stubs lag
    average = deepcopy(network).requires_grad_(False)
    optimizer = torch.optim.Adam(network.parameters(), lr=args.rate, fused=True)
    step, spent_s = 0, 0.0
    if args.state and args.state.exists():
        state = torch.load(args.state, weights_only=True)
        network.load_state_dict(state["network"])
        average.load_state_dict(state["average"])
        optimizer.load_state_dict(state["optimizer"])
        step, spent_s = state["step"], state["spent_s"]

    forward = torch.compile(network) if args.device == "cuda" else network
    crops = Crops(train, kind=args.kind, crop_px=args.crop, seed=args.seed)
    batches = batched(crops, args, first=step)
    begun_s = time.monotonic() - spent_s
    while True:
        spent_s = time.monotonic() - begun_s
        done = step / args.steps if args.steps else spent_s / (60 * args.minutes)
        if step % args.validate_every == 0 or done >= 1:
            quality = validate(average, held_out, device=args.device)
            save(average, args, steps=step)
            if args.state:
                state = {
                    "network": network.state_dict(),
                    "average": average.state_dict(),
                    "optimizer": optimizer.state_dict(),
                    "step": step,
                    "spent_s": spent_s,
                }
                torch.save(state, args.state)
            log.info("step %d, %.0f %%, %.0f s: %s", step, 100 * done, spent_s, quality)
        if done >= 1:
            return

        cosine = (1 + math.cos(math.pi * done)) / 2
        rate = args.rate * (LAST_RATE_SHARE + (1 - LAST_RATE_SHARE) * cosine)
        for group in optimizer.param_groups:
            group["lr"] = rate * min(1, (step + 1) / WARM_STEPS)

        small, large = next(batches)
        with torch.autocast(args.device, torch.bfloat16):  # twice as fast; the weights stay fp32
            enlarged = forward(small)
        error = enlarged.float() - large
        is_near = done >= SQUARED_FROM
        loss = SQUARED_WEIGHT * error.square().mean() if is_near else error.abs().mean()
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(network.parameters(), MAX_GRADIENT)
        optimizer.step()

        step += 1
        share = 1 - min(EMA_DECAY, step / (step + 9))  # at first the average is all of the latest
        for kept, latest in zip(average.parameters(), network.parameters(), strict=True):
            kept.lerp_(latest.detach(), share)


def batched(
    crops: Crops, args: argparse.Namespace, *, first: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """The crops of step `first` and on: (n, 3, h, w) and the truth, in 0..1, on the device."""
    numbers = ([step * args.batch + i for i in range(args.batch)] for step in count(first))
    loader = DataLoader(
        crops,
        batch_sampler=numbers,
        num_workers=args.workers,
        pin_memory=args.device == "cuda",
    )
    for small, large in loader:
        yield (
            planes(small.to(args.device, non_blocking=True)),
            planes(large.to(args.device, non_blocking=True)),
        )


@torch.inference_mode()
def validate(network: BuiltIn, held_out: list[Pair], *, device: str) -> str:
    """Mean PSNR in RGB over the middles of the held-out pictures: clean, and as JPEG quality 75."""
    clean_db: list[float] = []
    jpeg_db: list[float] = []
    for pair in held_out:
        small, large = middle(pair, side_px=VALIDATION_CROP_PX)
        truth = planes(torch.from_numpy(large.copy())[None]).to(device)
        jpeg = recompressed(small, quality=75, subsampling=2)
        for given, psnrs_db in ((small, clean_db), (jpeg, jpeg_db)):
            made = network(planes(torch.from_numpy(given.copy())[None]).to(device)).clamp(0, 1)
            psnrs_db.append(-10 * math.log10((made - truth).square().mean().item() + 1e-10))
    return f"{np.mean(clean_db):.3f} dB clean, {np.mean(jpeg_db):.3f} dB from JPEG"


def save(network: BuiltIn, args: argparse.Namespace, *, steps: int) -> None:
    """Write half-precision weights and what they are, whole or not at all."""
    tensors = {name: tensor.half().contiguous() for name, tensor in network.state_dict().items()}
    about = {
        "architecture": "builtin",
        "scale": str(network.scale),
        "width": args.width,
        "blocks": str(BLOCKS),
        "kind": args.kind,
        "steps": str(steps),
        "licence": "Apache-2.0",
        "training_set": args.credit,
    }
    fresh = args.out.with_suffix(".fresh")
    save_file(tensors, fresh, metadata=about)
    fresh.replace(args.out)


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=Path, required=True, help="a folder with manifest.csv")
    parser.add_argument("--scale", type=int, choices=(2, 4), required=True)
    parser.add_argument("--width", choices=WIDTHS, default="small")
    parser.add_argument("--kind", choices=("photo", "clean"), default="clean")
    length = parser.add_mutually_exclusive_group(required=True)
    length.add_argument("--minutes", type=float)
    length.add_argument("--steps", type=int)
    parser.add_argument("--out", type=Path, required=True, help="the weights, as safetensors")
    parser.add_argument("--state", type=Path, help="a checkpoint to keep and to go on from")
    parser.add_argument("--start-from", type=Path, help="weights to start with")
    parser.add_argument("--credit", default="", help="the training set's credit line")
    parser.add_argument("--batch", type=int, default=8, help="crops a step")
    parser.add_argument("--crop", type=int, default=48, help="a crop's side before enlarging, px")
    parser.add_argument("--rate", type=float, default=1e-3, help="the highest learning rate")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--threads", type=int, default=0, help="of the processor; 0: all")
    parser.add_argument("--workers", type=int, default=0, help="processes that cut crops")
    parser.add_argument("--validate-every", type=int, default=1000, help="steps")
    return parser.parse_args(argv)


if __name__ == "__main__":
    main()
