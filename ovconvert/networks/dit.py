"""Velocity estimator of the flow: a transformer with U-shaped skips and a WaveNet head (spec section 13.3)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ovconvert.networks.attention import attention, merge_heads, split_heads
from ovconvert.networks.shapes import Shapes, below, count
from ovconvert.networks.wavenet import WaveNet, WaveNetConfig

ROPE_BASE = 10000.0
TIME_SCALE = 1000.0


@dataclass(frozen=True)
class DiTConfig:
    """Sizes; `content` is the width of mu, `frequencies` the number of sinusoids that encode the time."""

    width: int
    heads: int
    head_dim: int
    inner: int
    depth: int
    mel: int
    content: int
    style: int
    frequencies: int
    wavenet: WaveNetConfig

    @classmethod
    def from_shapes(cls, shapes: Shapes, *, heads: int) -> DiTConfig:
        """Read the sizes; keys relative to `estimator.`. The number of heads leaves no trace in a shape."""
        width, content = shapes["cond_projection.weight"]
        mel = shapes["conv2.weight"][0]
        return cls(
            width=width,
            heads=heads,
            head_dim=shapes["transformer.layers.0.attention.wo.weight"][1] // heads,
            inner=shapes["transformer.layers.0.feed_forward.w1.weight"][0],
            depth=count(shapes, "transformer.layers."),
            mel=mel,
            content=content,
            style=shapes["cond_x_merge_linear.weight"][1] - 2 * mel - width,
            frequencies=shapes["t_embedder.freqs"][0],
            wavenet=WaveNetConfig.from_shapes(below(shapes, "wavenet.")),
        )


def rotary(frames: int, head_dim: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Cosine and sine (frames, head_dim / 2) of position * base^(-2i / head_dim)."""
    exponent = torch.arange(0, head_dim, 2, device=device).to(torch.float32) / head_dim
    angle = torch.arange(frames, device=device).to(torch.float32)[:, None] * (ROPE_BASE**-exponent)[None, :]
    return angle.cos(), angle.sin()


def rotate(x: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
    """Turn the interleaved pairs (x0, x1), (x2, x3), ... of x (B, H, T, D) by their angles."""
    pairs = x.reshape(x.shape[0], x.shape[1], -1, x.shape[3] // 2, 2)
    first, second = pairs[..., 0], pairs[..., 1]
    return torch.stack((first * cosine - second * sine, second * cosine + first * sine), dim=-1).flatten(3)


class _RmsNorm(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(width))

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-5) * self.weight


class _AdaptiveNorm(nn.Module):
    """w * RMSNorm(x) + b with [w | b] = project_layer(c); w multiplies as it is, not as 1 + w."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.project_layer = nn.Linear(width, 2 * width)
        self.norm = _RmsNorm(width)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        scale, shift = self.project_layer(condition)[:, None].chunk(2, dim=-1)
        return scale * self.norm(x) + shift


class _Attention(nn.Module):
    def __init__(self, config: DiTConfig) -> None:
        super().__init__()
        self.heads, self.head_dim, self.width = config.heads, config.head_dim, config.heads * config.head_dim
        self.wqkv = nn.Linear(config.width, 3 * self.width, bias=False)
        self.wo = nn.Linear(self.width, config.width, bias=False)

    def forward(self, x: Tensor, cosine: Tensor, sine: Tensor, wanted: int | None) -> Tensor:
        query, key, value = (split_heads(part, self.heads, self.head_dim) for part in self.wqkv(x).chunk(3, dim=-1))
        query, key = rotate(query, cosine, sine), rotate(key, cosine, sine)
        if wanted is not None:
            query = query[:, :, -wanted:]
        return self.wo(merge_heads(attention(query, key, value, scale=self.head_dim**-0.5), self.width))


class _FeedForward(nn.Module):
    def __init__(self, config: DiTConfig) -> None:
        super().__init__()
        self.w1 = nn.Linear(config.width, config.inner, bias=False)
        self.w3 = nn.Linear(config.width, config.inner, bias=False)
        self.w2 = nn.Linear(config.inner, config.width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.w2(F.silu(self.w1(x)) * self.w3(x))


class _Layer(nn.Module):
    def __init__(self, config: DiTConfig, takes_skip: bool) -> None:
        super().__init__()
        self.attention = _Attention(config)
        self.feed_forward = _FeedForward(config)
        self.ffn_norm = _AdaptiveNorm(config.width)
        self.attention_norm = _AdaptiveNorm(config.width)
        if takes_skip:
            self.skip_in_linear = nn.Linear(2 * config.width, config.width)

    def forward(self, x: Tensor, time: Tensor, cosine: Tensor, sine: Tensor, wanted: int | None = None) -> Tensor:
        mixed = self.attention(self.attention_norm(x, time), cosine, sine, wanted)
        x = mixed + (x if wanted is None else x[:, -wanted:])
        return x + self.feed_forward(self.ffn_norm(x, time))


class _Transformer(nn.Module):
    def __init__(self, config: DiTConfig) -> None:
        super().__init__()
        self.middle = config.depth // 2
        self.head_dim = config.head_dim
        self.layers = nn.ModuleList(_Layer(config, index > self.middle) for index in range(config.depth))
        self.norm = _AdaptiveNorm(config.width)

    def forward(self, x: Tensor, time: Tensor, wanted: int | None) -> Tensor:
        cosine, sine = rotary(x.shape[1], self.head_dim, x.device)
        skips: list[Tensor] = []
        for index, layer in enumerate(self.layers):
            if index > self.middle:
                x = layer.skip_in_linear(torch.cat((x, skips.pop()), dim=-1))
            # what the last layer makes of a frame, no other frame reads
            x = layer(x, time, cosine, sine, wanted if index + 1 == len(self.layers) else None)
            if index < self.middle:
                skips.append(x)
        return self.norm(x, time)


class _TimeEmbedder(nn.Module):
    """t (B,) -> (B, width), from cos and sin of 1000 * t * freqs."""

    freqs: Tensor

    def __init__(self, config: DiTConfig) -> None:
        super().__init__()
        self.register_buffer("freqs", torch.empty(config.frequencies))
        self.mlp = nn.Sequential(
            nn.Linear(2 * config.frequencies, config.width), nn.SiLU(), nn.Linear(config.width, config.width)
        )

    def forward(self, t: Tensor) -> Tensor:
        angle = TIME_SCALE * t[:, None] * self.freqs
        return self.mlp(torch.cat((angle.cos(), angle.sin()), dim=-1))


class _FinalLayer(nn.Module):
    def __init__(self, config: DiTConfig) -> None:
        super().__init__()
        self.width = config.wavenet.width
        self.linear = nn.Linear(self.width, self.width)
        self.adaLN_modulation = nn.Sequential(nn.SiLU(), nn.Linear(config.width, 2 * self.width))

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        shift, scale = self.adaLN_modulation(time)[:, None].chunk(2, dim=-1)
        # 1e-6, unlike the norms around it: with 1e-5 the recorded outputs are off by ten times more
        return self.linear(F.layer_norm(x, (self.width,), eps=1e-6) * (1 + scale) + shift)


class DiT(nn.Module):
    """forward(x (B, 80, T), prompt_x (B, 80, T), t (B,), style (B, 192), mu (B, T, content), wanted) -> velocity (B, 80, N)
    of the last N = `wanted` frames, of all T if None.

    Full attention over all T frames and reflect padding in the head: rows of a batch must have equal length, T at
    least 3. The head, a fifth of the work, sees `reach` frames to either side: frames further from the wanted ones are left
    to the attention alone.
    """

    UNUSED: tuple[str, ...] = (
        "x_embedder.*",
        "cond_embedder.*",
        "content_mask_embedder.*",
        "input_pos",
        "transformer.freqs_cis",
        "transformer.causal_mask",
    )

    def __init__(self, config: DiTConfig) -> None:
        super().__init__()
        self.config = config
        width, mel, out = config.width, config.mel, config.wavenet.width
        # published for every layer, read only in the second half: which, the depth decides
        self.UNUSED = DiT.UNUSED + tuple(
            f"transformer.layers.{index}.skip_in_linear.*" for index in range(config.depth // 2 + 1)
        )
        self.transformer = _Transformer(config)
        self.cond_projection = nn.Linear(config.content, width)
        self.t_embedder = _TimeEmbedder(config)
        self.cond_x_merge_linear = nn.Linear(2 * mel + width + config.style, width)
        self.skip_linear = nn.Linear(width + mel, width)
        self.conv1 = nn.Linear(width, out)
        self.t_embedder2 = _TimeEmbedder(config)
        self.wavenet = WaveNet(config.wavenet)
        self.res_projection = nn.Linear(width, out)
        self.final_layer = _FinalLayer(config)
        self.conv2 = nn.Conv1d(out, mel, 1)
        self.reach = config.wavenet.layers * (config.wavenet.kernel // 2)

    def forward(
        self, x: Tensor, prompt_x: Tensor, t: Tensor, style: Tensor, mu: Tensor, wanted: int | None = None
    ) -> Tensor:
        time = self.t_embedder(t)
        x = x.transpose(1, 2)
        content = self.cond_projection(mu)
        styles = style[:, None].expand(-1, x.shape[1], -1)
        h = self.cond_x_merge_linear(torch.cat((x, prompt_x.transpose(1, 2), content, styles), dim=-1))
        if wanted is None:
            h = self.transformer(h, time, None)
        else:  # a slice that would begin before the first frame begins with it
            h, x = self.transformer(h, time, wanted + self.reach), x[:, -(wanted + self.reach) :]
        h = self.skip_linear(torch.cat((h, x), dim=-1))
        y = self.wavenet(self.conv1(h).transpose(1, 2), self.t_embedder2(t)[:, :, None]).transpose(1, 2)
        y = y + self.res_projection(h)
        if wanted is not None:
            y = y[:, -wanted:]
        return self.conv2(self.final_layer(y, time).transpose(1, 2))


class GuidedEstimator(nn.Module):
    """Classifier-free guidance around an estimator, as data: one graph serves any guidance strength and none.

    forward(x (1, 80, N), prompt (1, 80, P), t (1,), style (1, 192), prompt_mu (1, P, C), mu (1, N, C), branch_mask (G,),
    branch_weights (R, G)) -> velocity (R, 80, N) of the frames behind the prompt. The estimator f sees P + N frames: x is
    zero in the prompt, and the prompt's mel behind it. Row r is the sum over g of branch_weights[r, g] * f(x, m_g prompt, t,
    m_g style, m_g mu), m_g = branch_mask[g]. Guidance 0.7 is mask [1, 0] with weights [[1.7, -0.7]]; no guidance is mask
    [1] with weights [[1]], at half the work. A second row [1, -1] gives what guidance adds.
    """

    def __init__(self, estimator: DiT) -> None:
        super().__init__()
        self.estimator = estimator

    @property
    def UNUSED(self) -> tuple[str, ...]:
        """The estimator's, below the name `estimator`."""
        return tuple(f"estimator.{pattern}" for pattern in self.estimator.UNUSED)

    def forward(
        self,
        x: Tensor,
        prompt: Tensor,
        t: Tensor,
        style: Tensor,
        prompt_mu: Tensor,
        mu: Tensor,
        branch_mask: Tensor,
        branch_weights: Tensor,
    ) -> Tensor:
        branches, wanted = branch_mask.shape[0], x.shape[2]
        mask = branch_mask[:, None, None]
        velocity = self.estimator(
            torch.cat((torch.zeros_like(prompt), x), 2).expand(branches, -1, -1),
            torch.cat((prompt, torch.zeros_like(x)), 2) * mask,
            t.expand(branches),
            style * branch_mask[:, None],
            torch.cat((prompt_mu, mu), 1) * mask,
            wanted,
        )
        return torch.matmul(branch_weights, velocity.flatten(1)).unflatten(1, (x.shape[1], -1))
