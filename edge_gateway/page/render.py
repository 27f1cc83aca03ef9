"""Renders the page's templates."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from jinja2 import Environment, PackageLoader
from markupsafe import Markup

from edge_gateway.page.view import Card, ShownAlarm
from edge_gateway.page.words import words
from vitals.absence import Language
from vitals.limits import VALUE_OLD_AFTER

_OLD_AFTER_MS = round(VALUE_OLD_AFTER.total_seconds() * 1000)


def render(template: str, language: Language, **context: Any) -> str:
    """Return the HTML of a template."""
    other = "en" if language == "fr" else "fr"
    return _TEMPLATES.get_template(template).render(
        w=words(language), language=language, other=other, old_after_ms=_OLD_AFTER_MS, **context
    )


def fragments(language: Language, context: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the parts of the page that change: the id of the element and its inner HTML."""
    yield "gateway", render("gateway.html", language, **context)
    cards: list[Card] = context["cards"]
    for index, card in enumerate(cards):
        for name in ("values", "alarms", "trend"):
            yield f"{name}-{index}", render(f"{name}.html", language, card=card, index=index)


def _silence(w: Mapping[str, str], alarm: ShownAlarm) -> Markup:
    clock = Markup('<time data-clock="{}"></time>').format(alarm.silent_until_ms)
    return Markup.escape(w["silent_until"]).format(time=clock, who=alarm.silent_by)


_TEMPLATES = Environment(loader=PackageLoader("edge_gateway.page"), autoescape=True, trim_blocks=True)
_TEMPLATES.globals["silence"] = _silence
