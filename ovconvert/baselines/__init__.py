"""Other engines for the networks of a package, called as the runtime's own engine is: what a package is measured against.

They need what the deployment install lacks (PyTorch and the checkpoint, or ONNX Runtime and the kept ONNX files). Judges do
not import them; they are handed in.
"""
