"""The texts of the page in both languages."""

from __future__ import annotations

import re

from edge_gateway.page.words import choose_language, words


def test_every_text_exists_in_both_languages() -> None:
    english, french = words("en"), words("fr")
    assert english.keys() == french.keys()
    assert all(english.values())
    assert all(french.values())


def test_french_marks_follow_a_non_breaking_space() -> None:
    french = words("fr")
    assert french["self_test_ok"] == "envoyé\u00a0; est-il arrivé\u00a0?"
    assert [text for text in french.values() if re.search(r"[^\u00a0][;:?!]", text)] == []


def test_language_that_the_page_lacks_is_ignored() -> None:
    assert choose_language("en", "fr") == "en"
    assert choose_language("de", "fr") == "fr"
    assert choose_language(None, "en") == "en"
