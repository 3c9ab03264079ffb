"""Teaches LiteRT's layout pass (litert-torch 0.10) to carry constant padding through its channels-last partitions.

Without it a padded network pays two transposes around every pad, and stops being integer between them.
"""

import torch


def teach_layouts() -> None:
    """Registers the rule; calling it again changes nothing."""
    from litert_torch._convert.fx_passes.optimize_layout_transposes_pass import layout_rewrite

    rewriters = layout_rewrite.rewriters
    pad = torch.ops.aten.constant_pad_nd.default
    if pad not in rewriters:
        rewriters[pad] = _pad_channels_last


def _pad_channels_last(node: torch.fx.Node) -> None:
    """Widths, last dimension first, from (N, C, H, W) to (N, H, W, C): [w, w, h, h, c, c] -> [c, c, w, w, h, h]."""
    widths = list(node.args[1]) + [0] * 8
    width, height, channels, batch = (widths[place : place + 2] for place in (0, 2, 4, 6))
    node.args = (node.args[0], [*channels, *width, *height, *batch], *node.args[2:])
