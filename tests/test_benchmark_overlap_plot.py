"""The plot of overlaps: marks of the recorded tables, curves of the laws."""

import re

from offramp.benchmarks.overlap_plot import overlaps_svg


def _claim(columns, *rows):
    return {"table": {"title": f"Overlaps with 2 patterns over 1 - d, {columns[0]}", "columns": columns, "rows": rows}}


def test_each_table_is_a_panel_with_its_law():
    document = {
        "seeds": 3,
        "claims": [
            _claim(
                ["dilution", "overlap 1", "overlap 2", "d^(k - 1)"],
                ["0", "1.00 ± 0.10", "0.04 ± 0.06", "1.00, 0.00"],
                ["0.5", "0.90 ± 0.00", "0.50 ± 0.02", "1.00, 0.50"],
            ),
            {"table": None},
            _claim(
                ["quality", "examples", "with labels", "without", "erf"],
                ["0.2", "5", "0.372 ± 0.028", "0.370 ± 0.028", "0.352"],
                ["0.5", "20", "0.984 ± 0.010", "0.982 ± 0.010", "0.990"],
            ),
            _claim(
                ["temperature", "1 pattern", "2 patterns", "n"],
                ["0.2", "1.00 ± 0.03", "1.00 ± 0.02", "1.00"],
                ["1.2", "0.08 ± 0.01", "0.08 ± 0.02", "0.00"],
            ),
        ],
    }
    text = overlaps_svg(document)
    titles = re.findall(r"<g><title>(.*?)</title>", text)
    assert len(titles) == 3 * 2 * 2
    assert "k 2, 0: 0.04 (0.00 to 0.10)" in titles  # an overlap is no less than 0
    assert "labels with, 0.15: 0.98 (0.97 to 0.99)" in titles  # rho of 20 examples of quality 0.5
    assert "patterns 1, 1.2: 0.08 (0.07 to 0.09)" in titles
    assert text.count('class="expected"') == 2 + 1 + 1
    assert "3 seeds" in text
