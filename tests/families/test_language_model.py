"""The decoder as a plain GPT-2: the states of its layers are ours, and our loop continues ids as the networks say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ovconvert import families, package
from ovconvert.baselines.gpt2 import names_of, renamed, write_gpt2
from ovconvert.baselines.kinds import LANGUAGE_MODEL
from ovconvert.baselines.peers import PEERS, Converter, open_peer
from ovconvert.baselines.pytorch import TorchEngine
from ovconvert.bench.generation import BEAMS
from ovconvert.bench.loops import Loop
from ovconvert.errors import UsageError
from ovconvert.language_model import parts_of
from ovconvert.runtime.engine import Engine
from ovconvert.stages import export

COMPONENTS = ("decoder", "speech_embeddings")
TOLERANCE = 1e-5  # of float32; seen 2.1e-6 with the decoder of the demo voice, whose states reach 6
TOKENS = 12


@pytest.fixture(scope="module")
def kept(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A float32 package of the language model alone."""
    dest = tmp_path_factory.mktemp("kept")
    opened = families.open_checkpoint(checkpoint)
    chosen = [component for component in opened.family.components if component.name in COMPONENTS]
    options = export.Options(weight_format="fp32")
    entries = tuple(export.export_component(opened, component, dest, options)[0] for component in chosen)
    family = opened.family
    files = package.seal(dest)
    package.save(package.Manifest(family.name, family.variant, family.sample_rate, family.dims, entries, files, {}), dest)
    return dest


@pytest.fixture(scope="module")
def written(checkpoint: Path, kept: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    dest = tmp_path_factory.mktemp("gpt2")
    write_gpt2(checkpoint, kept, dest)
    return dest


def ids(engine: Any, count: int) -> list[int]:
    vocabulary = parts_of(engine.manifest).vocabulary
    return [int(code) for code in np.random.default_rng(5).integers(0, vocabulary, count)]


def states(engine: TorchEngine, prompt: list[int]) -> list[torch.Tensor]:
    """Return the embeddings, the output of every layer, and that of the last norm alone, by the family's own networks."""
    decoder, embeddings = (engine.network(name) for name in COMPONENTS)
    found: list[torch.Tensor] = []
    hooks = [layer.register_forward_hook(lambda layer, given, made: found.append(made[0])) for layer in decoder.gpt.h]
    with torch.no_grad():
        embedded = embeddings(torch.tensor([prompt]), torch.arange(len(prompt))[None])
        cache = parts_of(engine.manifest).decoder.cache
        assert cache is not None
        past = [torch.zeros(1, cache.heads, 0, cache.head_dim) for _ in cache.names()]
        decoder(embedded, torch.ones(1, len(prompt), dtype=torch.int64), *past)
        for hook in hooks:
            hook.remove()
        return [embedded, *found, decoder.final_norm(found[-1])]


def distance(engine: TorchEngine, written: Path) -> float:
    """Return the largest difference of any state of any layer between the networks and the directory that was written."""
    from transformers import GPT2LMHeadModel

    prompt = ids(engine, 9)
    model = GPT2LMHeadModel.from_pretrained(written).eval()
    with torch.no_grad():
        theirs = list(model(torch.tensor([prompt]), output_hidden_states=True).hidden_states)
    ours = states(engine, prompt)
    del ours[-2]  # GPT-2 shows what comes behind its norm in place of its last layer
    assert len(ours) == len(theirs) > 2
    return max(float((one - other).abs().max()) for one, other in zip(ours, theirs, strict=True))


def test_the_states_of_all_layers_are_equal(checkpoint: Path, kept: Path, written: Path) -> None:
    pytest.importorskip("transformers")
    assert distance(TorchEngine(checkpoint, kept), written) < TOLERANCE


def test_a_changed_weight_is_noticed(checkpoint: Path, kept: Path, written: Path) -> None:
    engine = TorchEngine(checkpoint, kept)
    with torch.no_grad():
        engine.network("decoder").gpt.h[-1].mlp.c_proj.bias[0] += 0.01
    assert distance(engine, written) > TOLERANCE


def test_the_head_has_the_same_matrix_and_is_not_tied(checkpoint: Path, kept: Path, written: Path) -> None:
    from transformers import GPT2LMHeadModel

    engine = TorchEngine(checkpoint, kept)
    model = GPT2LMHeadModel.from_pretrained(written)
    assert torch.equal(model.lm_head.weight, engine.network("decoder").mel_head.weight)
    assert not torch.equal(model.lm_head.weight, model.transformer.wte.weight)
    assert model.generation_config.eos_token_id is None


def test_a_tensor_that_is_missing_is_named(checkpoint: Path, kept: Path) -> None:
    engine = TorchEngine(checkpoint, kept)
    names = names_of(engine.manifest.family)
    with pytest.raises(UsageError, match=r"no tensors mel_embedding\.weight, mel_pos_embedding\.emb\.weight"):
        renamed(engine.network("decoder"), torch.nn.Module(), names)


def test_a_family_that_does_not_say_how(kept: Path) -> None:
    with pytest.raises(UsageError, match="'made_up' does not say how its decoder is a GPT-2"):
        names_of("made_up")


def continued(engine: TorchEngine, prompt: list[int], tokens: int, forbidden: int) -> list[int]:
    """Return the likeliest ids one by one, the whole sequence read anew for each."""
    decoder = engine.network("decoder")
    found: list[int] = []
    for _ in range(tokens):
        logits = decoder.mel_head(decoder.final_norm(decoder.gpt.ln_f(states(engine, prompt + found)[-2][:, -1])))[0]
        logits[forbidden] = -torch.inf
        found.append(int(logits.argmax()))
    return found


def test_our_loop_continues_ids_as_the_networks_say(checkpoint: Path, kept: Path) -> None:
    loop = Loop(Engine(kept, threads=1))
    torch_engine = TorchEngine(checkpoint, kept)
    prompt = ids(torch_engine, 9)
    with torch.no_grad():
        expected = continued(torch_engine, prompt, TOKENS, forbidden=loop.vocabulary - 1)
    assert loop.generate(prompt, TOKENS, 1) == expected
    assert loop.generate(prompt[:-1], TOKENS, 1) != expected
    assert len(loop.generate(prompt, TOKENS, 3)) == TOKENS
    assert "stateful" in loop.settings and "fp32" in loop.settings


@pytest.mark.slow
@pytest.mark.parametrize("name", PEERS)
def test_a_peer_generates_as_it_is_told(name: str, checkpoint: Path, kept: Path, tmp_path: Path) -> None:
    for module in PEERS[name].needs:
        pytest.importorskip(module)
    converter = Converter(LANGUAGE_MODEL, checkpoint, kept, tmp_path)
    directory = converter.converted(name)
    assert converter.converted(name) == directory
    model = open_peer(name, LANGUAGE_MODEL, directory, threads=1)
    prompt = ids(Engine(kept), 9)
    for beams in BEAMS:
        found = model.generate(prompt, TOKENS, beams)
        assert len(found) == TOKENS
        assert model.generate(prompt, TOKENS, beams) == found
    assert model.settings
