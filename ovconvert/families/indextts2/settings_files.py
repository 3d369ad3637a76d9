"""The settings files of a checkpoint of given sizes, with the keys of the published ones (spec section 3)."""

from __future__ import annotations

import json
import math
from typing import Any

from ovconvert.families.indextts2.sizes import Sizes


def vocoder_json(sizes: Sizes) -> str:
    config = sizes.vocoder
    return json.dumps(
        {
            "resblock": "1",
            "upsample_rates": config.rates,
            "upsample_kernel_sizes": config.kernels,
            "upsample_initial_channel": config.channels,
            "resblock_kernel_sizes": config.block_kernels,
            "resblock_dilation_sizes": [config.dilations] * len(config.block_kernels),
            "use_tanh_at_final": config.tanh,
            "use_bias_at_final": config.final_bias,
            "activation": "snakebeta",
            "snake_logscale": config.log_scale,
            "num_mels": config.mel,
            "sampling_rate": sizes.sample_rate,
            "hop_size": math.prod(config.rates),
            "n_fft": sizes.n_fft,
            "win_size": sizes.win_length,
        },
        indent=1,
    )


def semantic_json(sizes: Sizes) -> str:
    config = sizes.semantic
    return json.dumps(
        {
            "model_type": "wav2vec2-bert",
            "hidden_size": config.width,
            "num_hidden_layers": config.published_layers,
            "num_attention_heads": config.heads,
            "intermediate_size": config.inner,
            "feature_projection_input_dim": config.features,
            "position_embeddings_type": "relative_key",
            "left_max_position_embeddings": config.left,
            "right_max_position_embeddings": config.right,
            "conv_depthwise_kernel_size": config.kernel,
        },
        indent=1,
    )


def classifier_json(sizes: Sizes) -> str:
    config = sizes.classifier
    return json.dumps(
        {
            "model_type": "qwen3",
            "hidden_size": config.width,
            "num_hidden_layers": config.layers,
            "num_attention_heads": config.heads,
            "num_key_value_heads": config.kv_heads,
            "head_dim": config.head_dim,
            "intermediate_size": config.inner,
            "vocab_size": config.vocabulary,
            "rope_theta": config.rope_theta,
            "rms_norm_eps": config.eps,
            "tie_word_embeddings": config.tied,
        },
        indent=1,
    )


def config_yaml(sizes: Sizes, variant: str) -> str:
    import yaml

    codes = sizes.codec.codes
    text_tokens = sizes.text_tokens if variant == "2.0" else sizes.text_tokens_25
    estimator = sizes.estimator

    def module(given: tuple[int, int, int, int]) -> dict[str, Any]:
        width, heads, inner, blocks = given
        return {
            "output_size": width,
            "linear_units": inner,
            "attention_heads": heads,
            "num_blocks": blocks,
            "input_layer": "conv2d2",
            "perceiver_mult": 2,
        }

    content = {
        "dataset": {"bpe_model": "bpe.model", "sample_rate": 24000},
        "gpt": {
            "model_dim": sizes.width,
            "layers": sizes.layers,
            "heads": sizes.heads,
            "max_mel_tokens": sizes.max_speech,
            "max_text_tokens": sizes.max_text,
            "number_text_tokens": text_tokens,
            "number_mel_codes": codes + 2,
            "start_mel_token": codes,
            "stop_mel_token": codes + 1,
            "start_text_token": 0,
            "stop_text_token": 1,
            "use_mel_codes_as_input": True,
            "condition_type": "conformer_perceiver",
            "condition_module": module(sizes.conformer),
            "emo_condition_module": module(sizes.emotion_conformer),
        },
        "semantic_codec": {
            "codebook_size": codes,
            "hidden_size": sizes.codec.hidden,
            "codebook_dim": sizes.codec.code_dim,
            "vocos_dim": sizes.codec.width,
            "vocos_intermediate_dim": sizes.codec.inner,
            "vocos_num_layers": sizes.codec.layers,
        },
        "s2mel": {
            "preprocess_params": {
                "sr": sizes.sample_rate,
                "spect_params": {
                    "n_fft": sizes.n_fft,
                    "win_length": sizes.win_length,
                    "hop_length": math.prod(sizes.vocoder.rates),
                    "n_mels": sizes.vocoder.mel,
                    "fmin": sizes.fmin,
                    "fmax": "None" if sizes.fmax is None else sizes.fmax,
                },
            },
            **({} if sizes.length_ratio is None else {"length_ratio": sizes.length_ratio}),
            "dit_type": "DiT",
            "style_encoder": {"dim": estimator.style},
            "length_regulator": {
                "channels": sizes.regulator.channels,
                "in_channels": sizes.regulator.inputs,
                "is_discrete": False,
                "content_codebook_size": sizes.regulator_rows,
                "sampling_ratios": [1, 1, 1, 1],
                "n_codebooks": 1,
            },
            "DiT": {
                "hidden_dim": estimator.width,
                "num_heads": estimator.heads,
                "depth": estimator.depth,
                "in_channels": estimator.mel,
                "content_dim": estimator.content,
                "content_codebook_size": sizes.estimator_rows,
                "style_condition": True,
                "final_layer_type": "wavenet",
                "is_causal": False,
                "long_skip_connection": True,
                "uvit_skip_connection": True,
            },
            "wavenet": {
                "hidden_dim": estimator.wavenet.width,
                "num_layers": estimator.wavenet.layers,
                "kernel_size": estimator.wavenet.kernel,
                "dilation_rate": 1,
                "style_condition": True,
            },
        },
        "gpt_checkpoint": "gpt.pth",
        "s2mel_checkpoint": "s2mel.pth",
        "w2v_stat": "wav2vec2bert_stats.pt",
        "emo_matrix": "feat2.pt",
        "spk_matrix": "feat1.pt",
        "emo_num": list(sizes.emotion_groups),
        "qwen_emo_path": "qwen0.6bemo4-merge/",
        "version": float(variant),
    }
    return yaml.safe_dump(content, sort_keys=False)
