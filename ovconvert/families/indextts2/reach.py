"""How far the vocoder looks: the mel frames on each side that the audio of a frame depends on."""

from __future__ import annotations

from math import prod

from ovconvert.networks.bigvgan import BigVganConfig

END_KERNEL = 7  # of the first and the last convolution
ACTIVATION = 5  # samples on each side that the twelve taps up and the twelve taps down see together


def vocoder_reach(config: BigVganConfig) -> int:
    """Return that number of frames, followed back from the samples of one frame through every layer (spec section 14)."""
    end, half = END_KERNEL // 2, max(config.block_kernels) // 2
    block = sum(2 * ACTIVATION + half * (dilation + 1) for dilation in config.dilations)
    low, high = -ACTIVATION - end, prod(config.rates) - 1 + ACTIVATION + end
    for rate, kernel in zip(reversed(config.rates), reversed(config.kernels), strict=True):
        low, high = low - block, high + block
        padding = (kernel - rate) // 2
        # sample o of a transposed convolution reads the frames i with 0 <= o + padding - rate i < kernel
        low, high = -((kernel - 1 - padding - low) // rate), (high + padding) // rate
    return max(end - low, high + end)
