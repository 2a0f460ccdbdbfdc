"""A predictor as a picture: one self-contained SVG that follows the reader's light or dark scheme.

Node tree ──lay out──▶ boxes in columns by depth ──draw──▶ SVG text
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Mapping
from html import escape
from types import MappingProxyType

import msgspec

from infergraph.graph.spec.records import Node, Predictor
from infergraph.topology import curve, rows_of

_NAME_PX, _KIND_PX, _TARGET_PX = 7.8, 7.2, 6.4  # mean width of a character in each style
_HEIGHT, _ROW_GAP, _COLUMN_GAP, _MARGIN, _PAD = 62.0, 22.0, 76.0, 24.0, 16.0
_TITLE_HEIGHT = 40.0
_TARGET_LIMIT = 42
_NARROWEST = 132.0

_STYLE = """
  svg { --back: #ffffff; --card: #ffffff; --line: #d5dae1; --ink: #1c2430; --soft: #5c6877; --edge: #93a0b0;
        font-family: ui-sans-serif, system-ui, "Segoe UI", Roboto, "Noto Sans", "DejaVu Sans",
        "Noto Sans CJK SC", sans-serif; }
  .model { --kind: #2563c9; } .router { --kind: #b45309; } .combiner { --kind: #7c3aed; }
  .transformer { --kind: #0f766e; } .output { --kind: #0f766e; } .chain { --kind: #be185d; } .other { --kind: #64748b; }
  @media (prefers-color-scheme: dark) {
    svg { --back: #12161c; --card: #1b212a; --line: #343d4a; --ink: #e8ecf2; --soft: #9aa7b6; --edge: #66748a; }
    .model { --kind: #7fb0ff; } .router { --kind: #f6b458; } .combiner { --kind: #b99cff; }
    .transformer { --kind: #5fd4c4; } .output { --kind: #5fd4c4; } .chain { --kind: #ff8fc0; }
    .other { --kind: #9aa7b6; }
  }
  .back { fill: var(--back); } .card { fill: var(--card); stroke: var(--line); } .bar { fill: var(--kind); }
  .dashed .card { stroke-dasharray: 5 4; } .title { fill: var(--ink); font-size: 16px; font-weight: 600; }
  .name { fill: var(--ink); font-size: 14px; font-weight: 600; }
  .kind { fill: var(--kind); font-size: 10px; font-weight: 600; letter-spacing: .06em; }
  .target { fill: var(--soft); font-size: 10.5px; font-family: ui-monospace, "DejaVu Sans Mono", Menlo, monospace; }
  .edge { fill: none; stroke: var(--edge); stroke-width: 1.5; } .edge.dashed { stroke-dasharray: 5 4; }
  .tip { fill: var(--edge); } .mark { fill: var(--soft); font-size: 10.5px; }
"""

_CLASSES = {
    "MODEL": "model",
    "ROUTER": "router",
    "COMBINER": "combiner",
    "TRANSFORMER": "transformer",
    "OUTPUT_TRANSFORMER": "output",
    "CHAIN": "chain",
    "SIMPLE_MODEL": "model",
    "SIMPLE_ROUTER": "router",
    "RANDOM_ABTEST": "router",
    "AVERAGE_COMBINER": "combiner",
}


class _Box(msgspec.Struct):
    node: Node
    name: str
    kind: str
    target: str
    depth: int
    row: float = 0.0
    width: float = 0.0
    mark: str = ""
    dashed: bool = False
    children: list[_Box] = []


def svg(predictor: Predictor, resolved: Mapping[str, str], places: Mapping[str, str] = MappingProxyType({})) -> str:
    """A picture of `predictor`.

    Args:
        resolved: what answers at each node, by name; nodes that are not in it get no such line.
        places: what is said of where a node runs, by name.
    Returns: an SVG document without references to anything outside; the same input gives the same text.
    """
    root = _boxes(predictor.graph, resolved, places, 0)
    tops, rows = rows_of(root, lambda box: box.children)
    boxes = list(_walk(root))
    for box in boxes:
        box.row = tops[id(box)]
    lefts, right = _columns(boxes)
    title = predictor.name or predictor.graph.name
    width = max(right, _MARGIN * 2 + _wide(title) * 9.0)
    height = _TITLE_HEIGHT + _MARGIN + rows * (_HEIGHT + _ROW_GAP) - _ROW_GAP + _MARGIN
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}" '
        f'viewBox="0 0 {width:.0f} {height:.0f}" role="img" aria-label="Inference graph {_text(title)}">',
        f"<style>{_STYLE}</style>",
        f'<rect class="back" width="{width:.0f}" height="{height:.0f}"/>',
        f'<text class="title" x="{_MARGIN:.0f}" y="{_MARGIN + 12:.0f}">{_text(title)}</text>',
    ]
    parts += [edge for box in boxes for edge in _edges(box, lefts)]
    parts += [_card(box, lefts[box.depth]) for box in boxes]
    return "\n".join([*parts, "</svg>", ""])


def _boxes(node: Node, resolved: Mapping[str, str], places: Mapping[str, str], depth: int) -> _Box:
    kind = node.type if node.type not in (None, "", "UNKNOWN_TYPE") else node.built_in or ", ".join(node.methods)
    box = _Box(
        node,
        name=node.name or "(no name)",
        kind=" · ".join([(kind or "passes through").replace("_", " "), *filter(None, [places.get(node.name)])]),
        target=_short(resolved.get(node.name, "")),
        depth=depth,
        dashed=node.shadow,
        mark="shadow" if node.shadow else "",
    )
    names, targets = _wide(box.name) * _NAME_PX, _wide(box.target) * _TARGET_PX
    box.width = max(_NARROWEST, max(names, _wide(box.kind) * _KIND_PX * 1.1, targets) + _PAD * 2)
    numbered = node.type in ("ROUTER", "CHAIN") or node.built_in in ("SIMPLE_ROUTER", "RANDOM_ABTEST")
    count = 0
    for child in node.children:
        below = _boxes(child, resolved, places, depth + 1)
        if numbered and not child.shadow:
            below.mark = f"{count + 1}." if node.type == "CHAIN" else str(count)
        count += not child.shadow
        box.children.append(below)
    if isinstance(node.fallback, Node):
        below = _boxes(node.fallback, resolved, places, depth + 1)
        below.mark, below.dashed = "fallback", True
        box.children.append(below)
    return box


def _columns(boxes: list[_Box]) -> tuple[list[float], float]:
    """The left side of each column, and the width of the picture."""
    widest: list[float] = [0.0] * (max(box.depth for box in boxes) + 1)
    for box in boxes:
        widest[box.depth] = max(widest[box.depth], box.width)
    lefts, left = [], _MARGIN
    for width in widest:
        lefts.append(left)
        left += width + _COLUMN_GAP
    return lefts, left - _COLUMN_GAP + _MARGIN


def _top(box: _Box) -> float:
    return _TITLE_HEIGHT + _MARGIN + box.row * (_HEIGHT + _ROW_GAP)


def _edges(box: _Box, lefts: list[float]) -> Iterator[str]:
    for child in box.children:
        x0, y0 = lefts[box.depth] + box.width, _top(box) + _HEIGHT / 2
        x1, y1 = lefts[child.depth] - 7, _top(child) + _HEIGHT / 2
        dashed = " dashed" if child.dashed else ""
        yield (
            f'<path class="edge{dashed}" d="{curve(x0, y0, x1, y1)}"/>'
            f'<path class="tip" d="M{x1 + 6:.1f} {y1:.1f}l-8 -4v8z"/>'
        )
        if child.mark:  # on the side that the line does not come from
            y = y1 - 6 if y1 <= y0 else y1 + 14
            yield f'<text class="mark" x="{x1 - 4:.1f}" y="{y:.1f}" text-anchor="end">{child.mark}</text>'


def _card(box: _Box, left: float) -> str:
    top = _top(box)
    kind = _CLASSES.get(box.node.type or "", "") or _CLASSES.get(box.node.built_in, "other")
    dashed = " dashed" if box.dashed else ""
    lines = [
        f'<g class="{kind}{dashed}" transform="translate({left:.1f} {top:.1f})">',
        f"<title>{_text(box.name)}</title>",
        f'<rect class="card" x=".5" y=".5" width="{box.width:.0f}" height="{_HEIGHT:.0f}" rx="8"/>',
        f'<rect class="bar" y="10" width="4" height="{_HEIGHT - 19:.0f}" rx="2"/>',
        f'<text class="name" x="{_PAD:.0f}" y="22">{_text(box.name)}</text>',
        f'<text class="kind" x="{_PAD:.0f}" y="37">{_text(box.kind)}</text>',
    ]
    if box.target:
        lines.append(f'<text class="target" x="{_PAD:.0f}" y="52">{_text(box.target)}</text>')
    return "".join([*lines, "</g>"])


def _walk(box: _Box) -> Iterator[_Box]:
    yield box
    for child in box.children:
        yield from _walk(child)


def _wide(text: str) -> int:
    """How many character cells a text takes: Chinese, Japanese and Korean signs take two."""
    return sum(2 if unicodedata.east_asian_width(sign) in "WF" else 1 for sign in text)


def _short(text: str) -> str:
    return text if len(text) <= _TARGET_LIMIT else f"{text[:12]}…{text[13 - _TARGET_LIMIT :]}"


def _text(text: str) -> str:
    """`text` as XML may hold it: what XML has no way to write becomes a question mark."""
    return escape("".join(sign if sign.isprintable() else "\N{REPLACEMENT CHARACTER}" for sign in text))
