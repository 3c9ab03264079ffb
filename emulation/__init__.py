"""Quantized programs on emulated arrays of synapse devices: chips, what they cost, and where accuracy breaks."""
