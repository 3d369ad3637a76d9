"""ovconvert: PyTorch speech checkpoints to OpenVINO packages that are proven, fast and honest about it."""

__version__ = "0.1.0"
