"""Plots of what a worker, or steps of a name, did over time: SVG to stand in a page."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from xml.etree import ElementTree

import leather
from markupsafe import Markup

_WIDTH, _HEIGHT = 800, 260
_TICKS = 7
_SVG = "http://www.w3.org/2000/svg"

# Its name, and a value for each span of time.
Series = tuple[str, Sequence[tuple[datetime, int | float]]]


def plot(title: str, series: Sequence[Series], width: timedelta) -> Markup:
    """A plot of series, each with its name, over spans of time of one ``width``.

    The numbers stand in a table beside it; to a screen reader the plot is its title.
    """
    # The library takes times without a zone.
    series = [
        (name, [(at.replace(tzinfo=None), value) for at, value in each]) for name, each in series
    ]
    points = [point for _, each in series for point in each]
    if not points:
        return Markup()
    chart = leather.Chart()
    for name, each in series:
        # Dots, as a line would say something of the spans without results.
        chart.add_dots(each, name=name)
    first, last = min(at for at, _ in points), max(at for at, _ in points)
    chart.add_x_scale(first, last if last > first else first + width)
    chart.add_y_scale(0, max(1, *(value for _, value in points)))
    written = "%m-%d" if width >= timedelta(days=1) else "%m-%d %H:%M"
    step = (1 + (last - first) // width // _TICKS) * width
    ticks = [first + number * step for number in range(1 + (last - first) // step)]
    chart.add_x_axis(ticks=ticks, tick_formatter=lambda at, *_: at.strftime(written))
    root = ElementTree.fromstring(chart.to_svg(width=_WIDTH, height=_HEIGHT))
    for size in ("width", "height"):
        del root.attrib[size]
    root.attrib |= {
        "viewBox": f"0 0 {_WIDTH} {_HEIGHT}",
        "class": "plot",
        "role": "img",
        "aria-label": title,
    }
    ElementTree.register_namespace("", _SVG)
    return Markup(ElementTree.tostring(root, encoding="unicode"))
