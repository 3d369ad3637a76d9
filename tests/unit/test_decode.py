"""The decoding loop: against its rules told slowly, against transformers, and against the original's tokens."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from toy_lm import Gpt2, Toy, slow_beams

from ovconvert.errors import QualityError, UsageError
from ovconvert.runtime.decode import Generation, Sampling, _draw, _top, generate, processed, softmax

GOLDEN = Path(__file__).parents[1] / "golden"
EOS = 0
BIASES = (-4.0, -1.0, 0.5, 2.0)
sys.path.insert(0, str(GOLDEN))


def prefix(seed: int, width: int = 8) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((1, 5, width)).astype(np.float32)


def run(toy: Toy, sampling: Sampling, seed: int = 0, **options: object) -> Generation:
    rng = np.random.default_rng(seed)
    embeds = prefix(seed, toy.table.shape[1])
    return generate(toy, embeds, toy.embed, sampling, eos_token_id=EOS, history=[1, 2], rng=rng, **options)  # type: ignore[arg-type]


# ---- settings


def test_settings_are_refused_together() -> None:
    with pytest.raises(UsageError) as caught:
        Sampling(num_beams=0, top_p=1.5, top_k=-1, temperature=0.0, repetition_penalty=0.0, max_new_tokens=0)
    for name in ("num_beams", "top_p", "top_k", "temperature", "repetition_penalty", "max_new_tokens"):
        assert f"{name} is " in str(caught.value)
    assert "length_penalty" not in str(caught.value)
    for bad in ({"temperature": float("nan")}, {"length_penalty": float("inf")}, {"min_new_tokens": 9, "max_new_tokens": 8}):
        with pytest.raises(UsageError):
            Sampling(**bad)  # type: ignore[arg-type]
    assert Sampling() == Sampling(True, 3, 0.8, 30, 0.8, 10.0, 0.0, 1500)


# ---- one sequence


@pytest.mark.parametrize("penalty", [1.0, 10.0])
@pytest.mark.parametrize("seed", range(10))
def test_greedy_is_the_slow_greedy(seed: int, penalty: float) -> None:
    toy = Toy(seed, bias=BIASES[seed % 4])
    sampling = Sampling(do_sample=False, num_beams=1, repetition_penalty=penalty, max_new_tokens=12)
    got = run(toy, sampling, seed)
    codes: list[int] = []
    while len(codes) < 12:
        logits = toy.logits(prefix(seed), codes)
        for code in {1, 2, *codes}:
            logits[code] = logits[code] / penalty if logits[code] > 0 else logits[code] * penalty
        if int(logits.argmax()) == EOS:
            break
        codes.append(int(logits.argmax()))
    assert got.codes.tolist() == codes
    assert got.finished is (len(codes) < 12)
    assert not got.parents.any()


def test_the_step_reads_the_prefix_once_and_codes_one_by_one() -> None:
    toy = Toy(3, bias=-9.0)
    counts: list[int] = []
    run(toy, Sampling(num_beams=3, max_new_tokens=4, top_k=5), on_token=counts.append)
    assert toy.calls == [(1, 5, 8), (3, 1, 8), (3, 1, 8), (3, 1, 8)]
    assert counts == [1, 2, 3, 4]


def test_positions_count_from_start() -> None:
    toy, seen = Toy(3, bias=-9.0), []

    def embed(codes: np.ndarray, position: int) -> np.ndarray:
        seen.append(position)
        return toy.embed(codes, position)

    sampling = Sampling(num_beams=1, max_new_tokens=4)
    rng = np.random.default_rng(0)
    generate(toy, prefix(0), embed, sampling, eos_token_id=EOS, history=[], rng=rng, start=2)
    assert seen == [2, 3, 4]


def test_the_end_waits_for_the_least_length() -> None:
    toy = Toy(1, bias=50.0)
    for beams in (1, 3):
        for do_sample in (True, False):
            sampling = Sampling(do_sample, beams, repetition_penalty=1.0, max_new_tokens=9, min_new_tokens=4)
            got = run(toy, sampling)
            assert (len(got.codes), got.finished) == (4, True)
    assert len(run(toy, Sampling(num_beams=1)).codes) == 0


def test_nan_is_said() -> None:
    toy = Toy(1)
    toy.bias[5] = np.nan
    with pytest.raises(QualityError, match="NaN at step 0"):
        run(toy, Sampling())


# ---- beams against the slow rules


def penalise(penalty: float) -> object:
    def process(logs: np.ndarray, codes: list[int]) -> np.ndarray:
        for code in {1, 2, *codes}:
            logs[code] *= penalty
        return logs

    return process


@pytest.mark.parametrize("length_penalty", [0.0, 1.0, -0.5])
@pytest.mark.parametrize("seed", range(12))
def test_beams_are_the_slow_beams(seed: int, length_penalty: float) -> None:
    toy = Toy(seed, bias=BIASES[seed % 4])
    penalty = 10.0 if seed % 2 else 1.5
    sampling = Sampling(False, 3, repetition_penalty=penalty, length_penalty=length_penalty, max_new_tokens=12)
    got = run(toy, sampling, seed, keep_hidden=True)
    codes, score = slow_beams(
        lambda codes: toy.logits(prefix(seed), codes),
        penalise(penalty),  # type: ignore[arg-type]
        lambda flat: np.argsort(-flat, kind="stable")[:6].tolist(),
        width=3,
        limit=12,
        eos=EOS,
        length_penalty=length_penalty,
    )
    assert got.codes.tolist() == codes
    assert got.score == pytest.approx(score, rel=1e-4)
    assert_hidden_follows_the_winner(toy, got, prefix(seed))


@pytest.mark.parametrize("seed", range(12))
def test_stochastic_beams_are_the_slow_ones_on_the_same_noise(seed: int) -> None:
    toy = Toy(seed, bias=BIASES[seed % 4])
    sampling = Sampling(repetition_penalty=3.0, top_k=7, top_p=0.9, temperature=0.7, max_new_tokens=12)
    got = run(toy, sampling, seed, keep_hidden=True)
    rng = np.random.default_rng(seed)

    def process(logs: np.ndarray, codes: list[int]) -> np.ndarray:
        for code in {1, 2, *codes}:
            logs[code] *= 3.0
        logs = logs / 0.7
        order = sorted(range(len(logs)), key=lambda code: -logs[code])
        kept = order[:7]
        mass = np.exp([logs[code] for code in kept])
        mass /= mass.sum()
        # from the least likely up: out while what went is at most 0.1, but two stay
        while len(kept) > 2 and mass[len(kept) - 1 :].sum() <= 0.1:
            kept.pop()
        return np.array([value if code in kept else -np.inf for code, value in enumerate(logs)])

    def draw(flat: np.ndarray) -> list[int]:
        finite = np.flatnonzero(flat > -np.inf)
        return finite[np.argsort(-(flat[finite] + rng.gumbel(size=len(finite))))][:6].tolist()

    codes, score = slow_beams(
        lambda codes: toy.logits(prefix(seed), codes), process, draw, width=3, limit=12, eos=EOS, length_penalty=0.0
    )
    assert got.codes.tolist() == codes
    assert got.score == pytest.approx(score, rel=1e-4)
    assert_hidden_follows_the_winner(toy, got, prefix(seed))


def assert_hidden_follows_the_winner(toy: Toy, got: Generation, embeds: np.ndarray) -> None:
    """The state that predicts code k is the one after the prefix and the codes before k."""
    assert got.hidden is not None and got.hidden.shape == (len(got.codes), 8)
    toy.reset()
    rows = [embeds, *(toy.embed(np.array([[code]]), index) for index, code in enumerate(got.codes[:-1]))]
    expected = toy(np.concatenate(rows, 1), np.zeros(1, np.int32))[1][0, embeds.shape[1] - 1 :]
    assert np.allclose(got.hidden, expected[: len(got.codes)], atol=1e-5)
    if len(got.codes) > 1:
        assert not np.allclose(got.hidden, got.hidden[::-1], atol=1e-3)


def test_some_winner_changed_beams() -> None:
    """Else the ancestry above was never put to a test."""
    found = [run(Toy(seed, bias=-4.0), Sampling(do_sample=False, max_new_tokens=12), seed) for seed in range(12)]
    assert any(generation.parents[1:].any() for generation in found)


def test_a_seed_gives_its_sequence() -> None:
    toy = Toy(5, bias=-4.0)
    for beams in (1, 3):
        sampling = Sampling(num_beams=beams, temperature=2.0, max_new_tokens=12)

        def codes(seed: int, sampling: Sampling = sampling) -> list[int]:
            rng = np.random.default_rng(seed)
            options = {"eos_token_id": EOS, "history": [1], "rng": rng}
            return generate(toy, prefix(0), toy.embed, sampling, **options).codes.tolist()  # type: ignore[arg-type]

        assert codes(1) == codes(1)
        assert len({tuple(codes(seed)) for seed in range(6)}) > 1


@pytest.mark.parametrize("do_sample", [True, False])
def test_fewer_candidates_than_beams(do_sample: bool) -> None:
    """All but `alive` codes are impossible: nothing impossible is drawn, and the loop ends."""
    for alive in ([7], [7, 8], [EOS], [EOS, 7]):
        toy = Toy(2)
        toy.bias[:] = -np.inf
        toy.bias[alive] = 0.0
        got = run(toy, Sampling(do_sample, 3, max_new_tokens=5))
        assert set(got.codes.tolist()) <= set(alive) - {EOS}
        assert np.isfinite(got.score)


# ---- distributions


def warpers(sampling: Sampling) -> object:
    import transformers as hf

    least = 1 if sampling.num_beams == 1 else 2
    return hf.LogitsProcessorList(
        [
            hf.RepetitionPenaltyLogitsProcessor(sampling.repetition_penalty),
            hf.TemperatureLogitsWarper(sampling.temperature),
            hf.TopKLogitsWarper(sampling.top_k, min_tokens_to_keep=least),
            hf.TopPLogitsWarper(sampling.top_p, min_tokens_to_keep=least),
        ]
    )


@pytest.mark.parametrize("beams", [1, 3])
@pytest.mark.parametrize(("top_k", "top_p"), [(30, 0.8), (5, 0.3), (1, 0.8), (200, 0.95), (30, 0.0), (30, 0.999)])
def test_probabilities_are_those_of_transformers(beams: int, top_k: int, top_p: float) -> None:
    import torch

    rng = np.random.default_rng(top_k)
    logits = (rng.standard_normal((beams, 200)) * 4).astype(np.float32)
    history = rng.integers(0, 200, (beams, 40))
    sampling = Sampling(num_beams=beams, top_k=top_k, top_p=top_p, temperature=0.8, repetition_penalty=10.0)
    expected = warpers(sampling)(torch.from_numpy(history), torch.from_numpy(logits.copy()))  # type: ignore[operator]
    seen = np.zeros(logits.shape, bool)
    np.put_along_axis(seen, history, True, 1)
    got = processed(logits, seen, sampling)
    assert np.abs(softmax(got) - torch.softmax(expected, -1).numpy()).max() < 1e-6


def test_the_comparison_of_probabilities_can_fail() -> None:
    logits = np.random.default_rng(0).standard_normal((1, 200)).astype(np.float32)
    seen = np.zeros(logits.shape, bool)
    one = softmax(processed(logits, seen, Sampling(num_beams=1)))
    for other in ({"temperature": 0.9}, {"top_k": 29}, {"top_p": 0.7}, {"repetition_penalty": 2.0}):
        touched = seen | (logits == logits.max()) if "repetition_penalty" in other else seen
        two = softmax(processed(logits, touched, Sampling(num_beams=1, **other)))  # type: ignore[arg-type]
        assert np.abs(one - two).max() > 1e-6, other


def test_draws_follow_the_probabilities() -> None:
    scores = np.log(
        np.array([0.5, 0.0, 0.3, 0.15, 0.05]) + 0.0, where=[True, False, True, True, True], out=np.full(5, -np.inf)
    )
    rng = np.random.default_rng(0)
    pairs = np.array([_draw(scores, 2, rng) for _ in range(20000)])
    first = np.bincount(pairs[:, 0], minlength=5) / len(pairs)
    assert np.abs(first - np.exp(scores)).max() < 0.015
    after_zero = np.bincount(pairs[pairs[:, 0] == 0, 1], minlength=5) / (pairs[:, 0] == 0).sum()
    assert np.abs(after_zero - np.array([0, 0, 0.6, 0.3, 0.1])).max() < 0.02
    assert np.abs(after_zero - np.exp(scores)).max() > 0.1
    assert (pairs != 1).all() and (pairs[:, 0] != pairs[:, 1]).all()
    assert sorted(_draw(scores, 9, rng).tolist()) == [0, 2, 3, 4]


def test_top_is_the_stable_sort() -> None:
    rng = np.random.default_rng(0)
    for count in (1, 6, 40):
        scores = rng.integers(0, 12, 40).astype(np.float32)
        assert _top(scores, count).tolist() == np.argsort(-scores, kind="stable")[:count].tolist()
    assert _top(np.array([-np.inf, 1.0, -np.inf]), 2).tolist() == [1]


# ---- transformers' own generate


class TorchStep:
    """A transformers GPT-2 that reads every sequence anew."""

    def __init__(self, model: object) -> None:
        self.model = model
        self.rows = np.zeros((1, 0, 16), np.float32)

    def reset(self) -> None:
        self.rows = self.rows[:1, :0]

    def __call__(self, inputs_embeds: np.ndarray, beam_idx: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        import torch

        self.rows = np.concatenate([self.rows[beam_idx], inputs_embeds], 1)
        with torch.no_grad():
            logits = self.model(inputs_embeds=torch.from_numpy(self.rows)).logits  # type: ignore[operator]
        return logits[:, -1].numpy(), inputs_embeds


def tiny_gpt2(seed: int, bias: float) -> object:
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(seed)
    config = GPT2Config(vocab_size=31, n_positions=64, n_embd=16, n_layer=2, n_head=2, tie_word_embeddings=False)
    config.bos_token_id = config.eos_token_id = EOS
    model = GPT2LMHeadModel(config).eval()
    model.lm_head = torch.nn.Linear(16, 31)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.normal_(0, 0.7)
        model.lm_head.bias.zero_()
        model.lm_head.bias[EOS] = bias
    return model


@pytest.mark.parametrize(
    ("beams", "penalty", "length_penalty"),
    [(1, 1.0, 0.0), (1, 2.0, 0.0), (3, 1.0, 0.0), (3, 2.0, 0.0), (3, 1.0, 1.0), (3, 2.0, 1.0), (3, 10.0, 0.0)],
)
def test_sequences_are_those_of_transformers(beams: int, penalty: float, length_penalty: float) -> None:
    import torch

    differ = set()
    for seed in range(12):
        model = tiny_gpt2(seed, BIASES[seed % 4])
        ids = torch.randint(1, 31, (1, 6), generator=torch.Generator().manual_seed(seed))
        settings = {"num_beams": beams, "repetition_penalty": penalty, "length_penalty": length_penalty, "do_sample": False}
        whole = model.generate(  # type: ignore[attr-defined]
            ids, max_new_tokens=14, attention_mask=torch.ones_like(ids), pad_token_id=EOS, eos_token_id=EOS, **settings
        )
        expected = whole[0, ids.shape[1] :].tolist()
        expected = expected[: expected.index(EOS)] if EOS in expected else expected
        table = model.transformer.wte.weight.detach().numpy()  # type: ignore[attr-defined]
        got = generate(
            TorchStep(model),
            table[ids.numpy()],
            lambda codes, position, table=table: table[codes],
            Sampling(max_new_tokens=14, **settings),
            eos_token_id=EOS,
            history=ids[0].tolist(),
            rng=np.random.default_rng(0),
        )
        assert got.codes.tolist() == expected, seed
        assert got.finished is (len(expected) < 14)
        differ.add(len(expected))
    assert len(differ) > 1  # some ended early, some did not


# ---- the original


def weights(folder: str, component: str) -> tuple[dict[str, np.ndarray], dict[str, object]]:
    from seedweights import fill

    described = json.loads((GOLDEN / folder / f"{component}.json").read_text())
    table = {}
    for line in (GOLDEN / folder / f"{component}.keys.tsv").read_text().splitlines():
        name, shape, _ = line.split("\t")
        if name.startswith(("gpt.", "final_norm", "mel_", "text_", "speed")):
            table[name] = fill(name, tuple(int(size) for size in shape.strip("(),").split(",")), described["seed"])
    table["mel_head.bias"][129] = -6.0
    return table, described["config"]


class Original:
    """The golden text with the golden conditioning, and the model that reads it."""

    def __init__(self) -> None:
        self.golden = np.load(GOLDEN / "indextts2-tiny" / "gpt.npz")
        table, config = weights("indextts2-tiny", "gpt")
        ids = np.array([0, *self.golden["text"][0], 1])
        text = table["text_embedding.weight"][ids] + table["text_pos_embedding.emb.weight"][: len(ids)]
        cond = np.concatenate(
            [self.golden["conditioning"][0] + self.golden["emovec_alpha06"], table["speed_emb.weight"][::-1]]
        )
        self.codes, self.places = table["mel_embedding.weight"], table["mel_pos_embedding.emb.weight"]
        self.prefix = np.concatenate([cond, text])[None]
        self.model = Gpt2(table, int(str(config["layers"])), int(str(config["heads"])))

    def embed(self, codes: np.ndarray, position: int) -> np.ndarray:
        return self.codes[codes] + self.places[position]

    def decode(self, sampling: Sampling, *, first: int) -> Generation:
        """Code k is embedded at position `first` + k."""
        return generate(
            self.model,
            np.concatenate([self.prefix, self.embed(np.array([[128]]), 0)], 1),
            self.embed,
            sampling,
            eos_token_id=129,
            history=[1] * self.prefix.shape[1] + [128],
            rng=np.random.default_rng(0),
            start=first,
            keep_hidden=True,
        )

    def second_pass(self, codes: np.ndarray) -> np.ndarray:
        """Return the states (n, width) that predict codes (n,), all read at once (section 10.4)."""
        self.model.reset()
        whole = np.array([128, *codes, 129])
        speech = (self.codes[whole] + self.places[: len(whole)])[None]
        hidden = self.model(np.concatenate([self.prefix, speech], 1), np.zeros(1, np.int32))[1]
        return hidden[0, self.prefix.shape[1] :][: len(codes)]


@pytest.mark.parametrize(
    ("name", "beams", "penalty"), [("greedy", 1, 1.0), ("greedy_rp10", 1, 10.0), ("beam3_rp10", 3, 10.0)]
)
def test_codes_are_the_originals(name: str, beams: int, penalty: float) -> None:
    model = Original()
    sampling = Sampling(False, beams, repetition_penalty=penalty, max_new_tokens=24)
    got = model.decode(sampling, first=2)
    assert got.codes.tolist() == model.golden[f"{name}_codes"][0].tolist()
    if beams > 1:
        assert got.score == pytest.approx(model.golden["beam3_score"].item(), rel=1e-4)
    assert model.decode(sampling, first=1).score != pytest.approx(got.score, rel=1e-4)


def test_contiguous_positions_make_the_second_pass_needless() -> None:
    """Section 10.3: with position k + 1 the loop's states are those of the second pass, with k + 2 they are not."""
    model = Original()
    assert np.allclose(model.second_pass(model.golden["latent_codes"][0]), model.golden["latent"][0], atol=1e-4)
    for beams in (1, 3):
        sampling = Sampling(False, beams, repetition_penalty=10.0, max_new_tokens=24)
        contiguous, skipping = (model.decode(sampling, first=first) for first in (1, 2))
        assert contiguous.hidden is not None and skipping.hidden is not None
        assert np.allclose(contiguous.hidden, model.second_pass(contiguous.codes), atol=1e-4)
        assert not np.allclose(skipping.hidden, model.second_pass(skipping.codes), atol=1e-4)
