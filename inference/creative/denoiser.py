"""The denoiser: what a UNet under a ControlNet takes windows of noisy latents for."""

from typing import NamedTuple

import torch
from diffusers import ControlNetModel, UNet2DConditionModel
from torch import Tensor, nn

from inference.creative.cross_attention import PromptAttention
from inference.creative.schedule import training_step

DECAY = 0.825
"""The ControlNet's deepest residual counts in full, each shallower one by that factor less."""


class Noise(NamedTuple):
    """One noise level, as the networks are told of it; fp32 tensors of no dimension."""

    sigma: Tensor
    training_step: Tensor

    @classmethod
    def of(cls, sigma: float, *, device: torch.device) -> "Noise":
        """The level of a standard deviation above 0."""
        numbers = torch.tensor((sigma, training_step(sigma)), dtype=torch.float32, device=device)
        return cls(*numbers)


class Steering(NamedTuple):
    """How strongly the prompt and the picture steer: fp32 tensors on the networks' device.

    `guidance` has no dimension; `residuals`, (13,) for Stable Diffusion, has the weight of each of
    the ControlNet's residuals, the shallowest first.
    """

    guidance: Tensor
    residuals: Tensor


class Denoiser(nn.Module):
    """Classifier-free guidance (Ho and Salimans 2022, arXiv:2207.12598) under a ControlNet (Zhang
    et al. 2023, arXiv:2302.05543) that steers both halves.

    It takes the two networks over: they attend to what it listens to, and the ControlNet gets its
    hints embedded. Both predict noise. It computes in their type; the latents stay fp32.
    """

    def __init__(self, unet: UNet2DConditionModel, controlnet: ControlNetModel) -> None:
        super().__init__()
        self.unet = unet
        self.controlnet = controlnet
        self._embed = controlnet.controlnet_cond_embedding
        controlnet.controlnet_cond_embedding = nn.Identity()
        self._prompt = PromptAttention(unet, controlnet)

    @torch.inference_mode()
    def listen(self, prompt: Tensor) -> None:
        """Attend to (2, tokens, width): what to avoid and what to show; or to (1, ...), the latter
        alone, which is half the work and leaves guidance without effect.
        """
        self._prompt.listen(prompt.to(self.unet.device, self.unet.dtype))

    @torch.inference_mode()
    def hint(self, picture: Tensor) -> Tensor:
        """What the ControlNet makes of a hint, (n, 3, 8h, 8w) in 0..1: (n, channels, h, w)."""
        embedded: Tensor = self._embed(picture.to(self.unet.device, self.unet.dtype))
        return embedded

    def steering(self, *, dynamic: float, resemblance: float) -> Steering:
        """A prompt's and a picture's strength, for these networks."""
        deepest = len(self.controlnet.controlnet_down_blocks)
        decays = [resemblance * DECAY ** (deepest - depth) for depth in range(deepest + 1)]
        device = self.unet.device
        return Steering(torch.tensor(dynamic, device=device), torch.tensor(decays, device=device))

    def forward(
        self, latents: Tensor, hints: Tensor, noise: Noise, steering: Steering, parts: int
    ) -> Tensor:
        """The clean latents, (n, 4, h, w), fp32, that these would be: latents with noise added to
        them, not scaled, and the hints of the same places. `parts` is how many the prompt has.
        """
        scaled = latents / (noise.sigma.square() + 1).sqrt()
        batch = scaled.to(self.unet.dtype).repeat(parts, 1, 1, 1)
        unused = batch.new_empty(len(batch), 1, 1)  # stands where the prompt would be
        *down, middle = self._residuals(batch, hints.repeat(parts, 1, 1, 1), noise, unused)
        weights = steering.residuals.to(batch.dtype)
        predicted: Tensor = self.unet(
            batch,
            noise.training_step,
            encoder_hidden_states=unused,
            down_block_additional_residuals=tuple(
                each * weight for each, weight in zip(down, weights[:-1], strict=True)
            ),
            mid_block_additional_residual=middle * weights[-1],
            return_dict=False,
        )[0]
        predicted = predicted.float()
        if parts == 2:
            avoided, wanted = predicted.chunk(2)
            predicted = avoided + steering.guidance * (wanted - avoided)
        return latents - noise.sigma * predicted

    def _residuals(
        self, batch: Tensor, hints: Tensor, noise: Noise, unused: Tensor
    ) -> tuple[Tensor, ...]:
        down, middle = self.controlnet(
            batch,
            noise.training_step,
            encoder_hidden_states=unused,
            controlnet_cond=hints,
            return_dict=False,
        )
        return (*down, middle)
