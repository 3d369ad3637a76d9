"""Front ends of audio networks: Kaldi filter banks, their stacked and standardised form, and log-mel spectra."""

from __future__ import annotations

from functools import cache

import numpy as np

from ovconvert.errors import UsageError

RATE = 16000  # Hz, of the Kaldi front ends
FRAME, HOP = 400, 160  # samples at RATE: 25 and 10 ms
INT16_SCALE = 32768.0
PAD = 1.0  # what fills an odd frame count up to pairs
SLANEY_STEP = 200.0 / 3  # Hz per mel below the break
SLANEY_BREAK = 1000.0  # Hz; linear below, logarithmic above
SLANEY_LOG_STEP = np.log(6.4) / 27
DECADE_FLOOR, DECADES = 1e-10, 8.0  # the least power, and what is kept below the loudest
DECADE_BLOCK = 3000  # frames at a time, which bounds the memory


def kaldi_fbank(samples: np.ndarray, *, bins: int = 80) -> np.ndarray:
    """Return float32 (frames, bins): natural-log Kaldi filter bank of 16 kHz `samples` (count,), without dither.

    25 ms frames every 10 ms, snipped at the edges, Povey window, pre-emphasis 0.97, 20 Hz to Nyquist. Raises UsageError
    for fewer than 400 samples.
    """
    import kaldi_native_fbank

    if len(samples) < FRAME:
        raise UsageError(f"{len(samples)} samples at {RATE} Hz are given; {FRAME} (25 ms) is the least; record more")
    options = kaldi_native_fbank.FbankOptions()
    options.frame_opts.samp_freq = RATE
    options.frame_opts.dither = 0.0
    options.frame_opts.snip_edges = True
    options.mel_opts.num_bins = bins
    online = kaldi_native_fbank.OnlineFbank(options)
    online.accept_waveform(RATE, np.ascontiguousarray(samples, np.float32))
    online.input_finished()
    return np.stack([online.get_frame(index) for index in range(online.num_frames_ready)]).astype(np.float32)


def semantic_features(samples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return (input_features float32 (1, pairs, 160), attention_mask int64 (1, pairs)) of 16 kHz samples (section 4.2).

    Frames are standardised per bin over time and stacked in pairs. With an odd count the last pair is half padding, and
    masked out. Raises UsageError for fewer than 560 samples: two frames, below which there is no variance.
    """
    if len(samples) < FRAME + HOP:
        raise UsageError(
            f"{len(samples)} samples at {RATE} Hz are given; at least {FRAME + HOP} (35 ms) are needed; record more"
        )
    fbank = kaldi_fbank(np.asarray(samples, np.float32) * np.float32(INT16_SCALE))
    normal = (fbank - fbank.mean(0)) / np.sqrt(fbank.var(0, ddof=1) + 1e-7)
    missing = len(normal) % 2
    stacked = np.pad(normal, ((0, missing), (0, 0)), constant_values=PAD).reshape(1, -1, 2 * fbank.shape[1])
    mask = np.ones((1, stacked.shape[1]), np.int64)
    mask[0, stacked.shape[1] - missing :] = 0
    return stacked.astype(np.float32), mask


def speaker_fbank(samples: np.ndarray) -> np.ndarray:
    """Return float32 (1, frames, 80): filter bank of 16 kHz samples in [-1, 1], less its mean over time (spec 4.3)."""
    fbank = kaldi_fbank(samples)
    centred: np.ndarray = fbank - fbank.mean(0)
    return centred[None]


def log_mel(
    samples: np.ndarray,
    sample_rate: int,
    n_fft: int,
    win_length: int,
    hop_length: int,
    n_mels: int,
    fmin: float = 0.0,
    fmax: float | None = None,
) -> np.ndarray:
    """Return float32 (1, n_mels, count // hop_length): natural-log mel spectrum of `samples` (count,) (section 4.4).

    Reflected at the ends, not centred, periodic Hann window, magnitudes, Slaney filters, floor 1e-5. `fmax` None is
    Nyquist. Raises UsageError for samples too short to reflect.
    """
    pad = (n_fft - hop_length) // 2
    if len(samples) <= pad:
        raise UsageError(
            f"{len(samples)} samples at {sample_rate} Hz are given; a spectrum needs more than {pad}; record more"
        )
    padded = np.pad(np.asarray(samples, np.float32), pad, mode="reflect")
    frames = np.lib.stride_tricks.sliding_window_view(padded, n_fft)[::hop_length]
    before = (n_fft - win_length) // 2
    window = np.zeros(n_fft, np.float32)
    window[before : before + win_length] = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(win_length) / win_length)
    spectrum = np.fft.rfft(frames * window)
    magnitude = np.sqrt(spectrum.real**2 + spectrum.imag**2 + 1e-9)
    mel = mel_basis(sample_rate, n_fft, n_mels, fmin, fmax) @ magnitude.T
    logarithm: np.ndarray = np.log(np.maximum(mel, 1e-5)).astype(np.float32)
    return logarithm[None]


def decade_mel(samples: np.ndarray, sampling_rate: int, n_fft: int, hop_length: int, feature_size: int) -> np.ndarray:
    """Return float32 (feature_size, count // hop_length): the spectrum of `samples` (count,) as speech recognisers hear it.

    Centred frames with reflected ends, periodic Hann window, power, Slaney filters to 8 kHz, log10, the lowest 8 decades,
    scaled to about -1 to 1 (arXiv 2212.04356, section 2.2).
    """
    padded = np.pad(np.asarray(samples, np.float32), n_fft // 2, mode="reflect")
    frames = np.lib.stride_tricks.sliding_window_view(padded, n_fft)[::hop_length][: len(samples) // hop_length]
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(n_fft) / n_fft)
    basis = mel_basis(sampling_rate, n_fft, feature_size, 0.0, 8000.0)
    blocks = np.array_split(frames, 1 + len(frames) // DECADE_BLOCK)
    power = np.concatenate([np.abs(np.fft.rfft(block * window)) ** 2 for block in blocks])
    logs = np.log10(np.maximum(basis @ power.T, DECADE_FLOOR))
    result: np.ndarray = (np.maximum(logs, logs.max() - DECADES) + 4.0) / 4.0
    return result.astype(np.float32)


@cache
def mel_basis(sample_rate: int, n_fft: int, n_mels: int, fmin: float = 0.0, fmax: float | None = None) -> np.ndarray:
    """Return (n_mels, n_fft // 2 + 1): triangles on Slaney's mel scale, each of unit area in Hz. Shared: read only."""
    edges = _hertz(np.linspace(_mel(fmin), _mel(sample_rate / 2 if fmax is None else fmax), n_mels + 2))
    bins = np.linspace(0, sample_rate / 2, n_fft // 2 + 1)
    low, centre, high = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    triangles = np.minimum((bins - low) / (centre - low), (high - bins) / (high - centre)).clip(min=0)
    basis: np.ndarray = triangles * (2.0 / (high - low))
    basis.flags.writeable = False
    return basis


def _mel(hertz: float) -> float:
    if hertz < SLANEY_BREAK:
        return hertz / SLANEY_STEP
    return float(SLANEY_BREAK / SLANEY_STEP + np.log(hertz / SLANEY_BREAK) / SLANEY_LOG_STEP)


def _hertz(mel: np.ndarray) -> np.ndarray:
    knee = SLANEY_BREAK / SLANEY_STEP
    above = SLANEY_BREAK * np.exp(SLANEY_LOG_STEP * np.maximum(mel - knee, 0))
    hertz: np.ndarray = np.where(mel < knee, mel * SLANEY_STEP, above)
    return hertz
