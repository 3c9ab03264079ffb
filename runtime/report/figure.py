"""Line charts as an SVG file that stands on its own: on white, with its own style."""

import math
import re
import textwrap
from collections.abc import Sequence
from pathlib import Path

from .charts import WIDTH
from .lines import LineChart

_MARGIN, _BETWEEN, _SCALE = 20.0, 32.0, 1.25
_HEAD, _LINE = 20.0, 14.0  # heights of lines of text: of the title, of all others
_HEAD_WIDTH, _TEXT_WIDTH = 9.0, 6.0  # of a character
_STYLE = """
text { fill: #15191e; font: 12px system-ui, -apple-system, "Segoe UI", Roboto, "Liberation Sans", sans-serif; }
.head { font-size: 16px; font-weight: 600; } .note { fill: #57606c; font-size: 11px; } .caption { font-weight: 600; }
.ground { fill: #fff; } .grid line { stroke: #dce0e6; stroke-width: .75; }
.grid text, .reference text { fill: #57606c; font-size: 11.5px; } .grid .name { font-weight: 400; }
.axis { fill: none; stroke: #57606c; } .reference line { stroke: #57606c; stroke-dasharray: 4 3; }
.expected { fill: none; stroke: currentColor; stroke-dasharray: 2 3; }
.leader { stroke: currentColor; stroke-width: .75; } .end { color: #57606c; }
.line-0 { color: #00806b; } .line-1 { color: #b45309; } .line-2 { color: #8a35b8; } .line-3 { color: #15191e; }
.joined { fill: none; stroke: currentColor; stroke-width: 1.5; stroke-linejoin: round; }
.hollow .joined { stroke-dasharray: 5 2.5; } .whisker { stroke: currentColor; stroke-width: 1.25; opacity: .65; }
.shape { fill: currentColor; stroke: #fff; stroke-width: .75; }
.hollow .shape { fill: #fff; stroke: currentColor; stroke-width: 1.75; }
"""
_TEMPLATE = """{% import "chart.svg.j2" as svg %}
<svg xmlns="http://www.w3.org/2000/svg" width="{{ pixels[0] }}" height="{{ pixels[1] }}" \
viewBox="0 0 {{ size[0] }} {{ size[1] }}" role="img" aria-labelledby="title">
<title id="title">{{ title }}</title>
<style>{{ style }}</style>
<rect class="ground" width="{{ size[0] }}" height="{{ size[1] }}"/>
{% for kind, x, y, line in texts %}
<text class="{{ kind }}" x="{{ x }}" y="{{ y }}">{{ line }}</text>
{% endfor %}
{% for x, y, chart in panels %}
<g transform="translate({{ x }} {{ y }})">
{{ svg.lines(chart) -}}
</g>
{% endfor %}
</svg>
"""


def figure_svg(title: str, charts: Sequence[LineChart], note: str) -> str:
    """Charts beside and below each other, up to three a row, as the text of a file; equal charts give equal bytes.

    Args:
        title: above all charts.
        charts: at least one, all of one height, each under its own title.
        note: a paragraph below.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    columns = 1 if len(charts) == 1 else (2 if len(charts) in (2, 4) else 3)
    width = 2 * _MARGIN + columns * WIDTH + (columns - 1) * _BETWEEN
    texts, top = _lines("head", title, width, _MARGIN)
    captions, panels = [], []
    for place, chart in enumerate(charts):
        x = _MARGIN + place % columns * (WIDTH + _BETWEEN)
        y = top + 10 + place // columns * (chart.height + _HEAD + 10)
        captions.append(("caption", x + 6, y + _LINE, chart.title))
        panels.append((x, y + _HEAD, chart))
    bottom = top + 20 + math.ceil(len(charts) / columns) * (charts[0].height + _HEAD + 10)
    notes, bottom = _lines("note", note, width, bottom)
    size = (width, round(bottom + _MARGIN - _LINE / 2, 1))
    pixels = [round(_SCALE * length) for length in size]
    drawn = environment.from_string(_TEMPLATE).render(
        texts=[*texts, *captions, *notes], panels=panels, size=size, pixels=pixels, title=title, style=Markup(_STYLE)
    )
    return _visible(drawn)


def _lines(kind: str, text: str, width: float, top: float) -> tuple[list[tuple[str, float, float, str]], float]:
    """A text broken into lines of the drawing's width, and where the last one ends."""
    height, character = (_HEAD, _HEAD_WIDTH) if kind == "head" else (_LINE, _TEXT_WIDTH)
    lines = textwrap.wrap(text, int((width - 2 * _MARGIN) / character), break_on_hyphens=False)
    placed = [(kind, _MARGIN + 6, round(top + height * (place + 0.75), 1), line) for place, line in enumerate(lines)]
    return placed, top + height * len(lines)


def _visible(text: str) -> str:
    """Without the characters that XML has no form of."""
    return re.sub("[^\n\x20-\x7e\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", "?", text)
