"""A document as one HTML file: plots inside, no script, nothing from outside; for a phone and for
paper, light and dark as the reader's system is.
"""

from pathlib import Path
from typing import Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from supervisor.reports.rendering import plots
from supervisor.reports.rendering.document import Document
from supervisor.reports.rendering.plots import Drawing

LAYOUT: Final = "layout.html"


def html(document: Document) -> bytes:
    """The file."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
    )
    environment.globals["svg"] = _svg
    environment.filters["code"] = _code
    return environment.get_template(LAYOUT).render(document=document).encode()


def _code(text: str) -> Markup:
    """What stands between backticks is a command or the like."""
    parts = [escape(part) for part in text.split("`")]
    return Markup("").join(
        Markup("<code>{}</code>").format(part) if place % 2 else part
        for place, part in enumerate(parts)
    )


def _svg(drawing: Drawing) -> Markup:
    """What it is made of is numbers, and words that plots.py escapes."""
    return Markup(plots.svg(drawing))
