"""What `quantize` is asked for, component by component and layer by layer, and the samples that it learns from."""
