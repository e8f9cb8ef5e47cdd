"""docs/methods.md is what the tables say."""

from experiments.methods import PAGE, page


def test_the_page_is_made_from_the_tables():
    assert PAGE.read_text() == page(), "run: python -m experiments.methods"
