"""Sizes of the demo voice's networks: everything that another voice of this recipe would change."""

from __future__ import annotations

from ovconvert.networks.conditioning import EmotionConditionerConfig, SpeakerConditionerConfig
from ovconvert.networks.conformer import ConformerConfig
from ovconvert.networks.dit import DiTConfig
from ovconvert.networks.gpt2 import Gpt2Config
from ovconvert.networks.latent_projector import LatentProjectorConfig
from ovconvert.networks.length_regulator import LengthRegulatorConfig
from ovconvert.networks.perceiver import PerceiverConfig
from ovconvert.networks.prefix import PrefixConfig
from ovconvert.networks.semantic_codec import SemanticCodecConfig
from ovconvert.networks.speech_embeddings import SpeechEmbeddingsConfig
from ovconvert.networks.w2v_bert import W2vBertConfig
from ovconvert.networks.wavenet import WaveNetConfig

PIECES = 800  # of text
CODES = 128
MAX_TEXT, MAX_SPEECH = 130, 600  # positions
WIDTH, LAYERS, HEADS = 160, 6, 5  # of the language model
STYLE = 192
SINUSOIDS = 400

SEMANTIC = W2vBertConfig(
    features=160, width=64, inner=128, heads=2, head_dim=32, kernel=31, layers=17, published_layers=17, left=64, right=8
)
CODEC = SemanticCodecConfig(hidden=64, width=64, inner=192, layers=3, codes=CODES, code_dim=8, downsample=1)
CONFORMER = ConformerConfig(
    width=48, heads=2, head_dim=24, inner=96, blocks=2, kernel=15, flattened=48 * 31, positions=SINUSOIDS
)
SPEAKER_CONDITIONER = SpeakerConditionerConfig(CONFORMER, PerceiverConfig(WIDTH, 32, 48, 2, 2, 64, int(WIDTH * 4 / 3)))
EMOTION_CONDITIONER = EmotionConditionerConfig(CONFORMER, PerceiverConfig(64, 1, 48, 2, 2, 64, int(64 * 4 / 3)), WIDTH)
PREFIX = PrefixConfig(PIECES + 1, MAX_TEXT + 2, 2, WIDTH, 0, 1)
SPEECH = SpeechEmbeddingsConfig(CODES + 2, MAX_SPEECH + 3, WIDTH)
DECODER = Gpt2Config(LAYERS, WIDTH, HEADS, WIDTH // HEADS, 4 * WIDTH, CODES + 2)
START, STOP = CODES, CODES + 1
PROJECTOR = LatentProjectorConfig((WIDTH, 96, 64, 64), CODEC)
REGULATOR = LengthRegulatorConfig(inputs=64, channels=128, outputs=128, stages=4)
ESTIMATOR = DiTConfig(
    width=128,
    heads=4,
    head_dim=32,
    inner=512,
    depth=5,
    mel=80,
    content=128,
    style=STYLE,
    frequencies=128,
    wavenet=WaveNetConfig(width=128, layers=4, kernel=5),
)
