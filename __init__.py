"""offramp: one quantized program, every target, every difference accounted for."""

__version__ = "0.1.0"
