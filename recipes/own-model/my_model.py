"""An encoder and an autoregressive decoder of one's own, described so that `ovconvert export --model-script` takes them."""

import torch
from torch import nn

from ovconvert.networks.attention import attention, boundary, causal_mask, merge_heads, split_heads
from ovconvert.scripted import Model
from ovconvert.spec import CacheSpec, Component, Dim, Family, Port

WIDTH, HEADS, BANDS, WORDS = 32, 4, 20, 40


class Encoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(BANDS, WIDTH), nn.GELU(), nn.Linear(WIDTH, WIDTH))

    def forward(self, features):  # (batch, frames, BANDS) -> (batch, frames, WIDTH)
        return self.layers(features)


class Step(nn.Module):  # one layer; it reads the new words, what it said before (past), and what the encoder heard
    def __init__(self):
        super().__init__()
        self.words, self.places = nn.Embedding(WORDS, WIDTH), nn.Embedding(500, WIDTH)
        self.own, self.heard = (nn.ModuleDict({name: nn.Linear(WIDTH, WIDTH) for name in "qkvo"}) for _ in range(2))
        self.head = nn.Linear(WIDTH, WORDS)

    def forward(self, input_ids, states, past_key, past_value):
        new, start = input_ids.shape[1], past_key.shape[2]
        x = self.words(input_ids) + self.places(torch.arange(new) + start)
        query, key, value = (split_heads(self.own[name](x), HEADS, WIDTH // HEADS) for name in "qkv")
        key, value = torch.cat((past_key, key), 2), torch.cat((past_value, value), 2)
        mask = causal_mask(torch.ones(1, start + new, dtype=torch.int64), new, x.dtype)
        x = x + self.own["o"](merge_heads(attention(query, key, value, mask), WIDTH))
        query = split_heads(self.heard["q"](x), HEADS, WIDTH // HEADS)
        cross = [boundary(split_heads(self.heard[name](states), HEADS, WIDTH // HEADS)) for name in "kv"]
        x = x + self.heard["o"](merge_heads(attention(query, *cross), WIDTH))
        return self.head(x), key, value, *cross


torch.manual_seed(0)  # a real model loads its weights here
DIMS = {  # every axis without a fixed size: the size that is traced, then the sizes that validation tries
    "batch": Dim(2, (1, 3)),
    "frames": Dim(12, (1, 40)),
    "sequence_length": Dim(4, (1, 3)),
    "past_sequence_length": Dim(5, (0, 90)),
}
DIMS["encoder_sequence_length"] = DIMS["frames"]
STATES = Port("states", "float32", ("batch", "encoder_sequence_length", WIDTH))
SPEC = Model(
    Family("my_model", "", 0, DIMS, (
        Component("encoder", "encoder", (Port("features", "float32", ("batch", "frames", BANDS)),),
                  (Port("states", "float32", ("batch", "frames", WIDTH)),)),
        Component("decoder", "step", (Port("input_ids", "int64", ("batch", "sequence_length")), STATES),
                  (Port("logits", "float32", ("batch", "sequence_length", WORDS)),),
                  CacheSpec(layers=1, heads=HEADS, head_dim=WIDTH // HEADS, cross="states")),
    )),
    networks={"encoder": Encoder(), "decoder": Step()},
)  # fmt: skip
