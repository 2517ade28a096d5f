"""Small pieces of HTML: tables, tiles, bars, durations; everything escaped once."""

from __future__ import annotations

import base64
import html
from collections.abc import Mapping, Sequence
from typing import Any

from wm.report.plots import number


class Raw(str):
    """Text that is already HTML."""


def text(value: Any) -> str:
    """A value as escaped text; `Raw` stays, floats are rounded as people write them."""
    if isinstance(value, Raw):
        return value
    if isinstance(value, float):
        return number(value)
    return html.escape(str(value))


def table(
    head: Sequence[Any], rows: Sequence[Sequence[Any]], right: Sequence[int] = ()
) -> str:
    """A table; columns in `right` are aligned there, for figures."""
    if not rows:
        return ""
    side = lambda i: ' class="r"' if i in right else ""
    cells = lambda tag, row: "".join(
        f"<{tag}{side(i)}>{text(value)}</{tag}>" for i, value in enumerate(row)
    )
    body = "".join(f"<tr>{cells('td', row)}</tr>" for row in rows)
    return (
        f'<div class="scroll"><table><thead><tr>{cells("th", head)}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def settings(values: Mapping[str, Any]) -> str:
    """Nested settings as one table with dotted names."""
    rows = "".join(
        f'<tr><td class="key">{html.escape(name)}</td>'
        f'<td class="value">{html.escape(_plain(value))}</td></tr>'
        for name, value in flat(values).items()
    )
    return f'<div class="scroll"><table><tbody>{rows}</tbody></table></div>'


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings as one with dotted names."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping) and value:
            found |= flat(value, f"{prefix}{name}.")
        else:
            found[f"{prefix}{name}"] = value
    return found


def tiles(pairs: Sequence[tuple[str, Any, Any]]) -> str:
    """Boxes of (name, figure, small print)."""
    boxes = []
    for name, value, small in pairs:
        below = f"<small>{text(small)}</small>" if small else ""
        boxes.append(f"<div><dt>{text(name)}</dt><dd>{text(value)}{below}</dd></div>")
    return f'<dl class="tiles">{"".join(boxes)}</dl>'


def bar(parts: Mapping[str, float]) -> str:
    """Shares of a whole as one coloured bar."""
    whole = sum(parts.values()) or 1.0
    pieces = "".join(
        f'<div style="flex:{value / whole:.4f};background:var(--p-c{i % 8})" '
        f'title="{html.escape(name)}: {value / whole:.0%}"></div>'
        for i, (name, value) in enumerate(parts.items())
    )
    return f'<div class="bar">{pieces}</div>'


def swatch(index: int) -> Raw:
    """A square in the colour of series `index`."""
    return Raw(f'<span class="swatch" style="background:var(--p-c{index % 8})"></span>')


def data_uri(data: bytes, kind: str) -> str:
    """Bytes inside the page, so that it needs no other file."""
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def duration(seconds: float | None) -> str:
    """`2:10`, `1:02:03`; a dash where unknown."""
    if seconds is None:
        return "–"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}:{minutes:02}:{rest:02}"
    return f"{minutes}:{rest:02}"


def plural(count: int, noun: str) -> str:
    """`1 seed`, `4 seeds`."""
    return f"{count:,} {noun}" + ("" if count == 1 else "s")


def join(words: Sequence[str]) -> str:
    """`a, b and c`."""
    if len(words) <= 1:
        return "".join(words)
    return ", ".join(words[:-1]) + " and " + words[-1]


def _plain(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ", ".join(map(_plain, value))
    return str(value)
