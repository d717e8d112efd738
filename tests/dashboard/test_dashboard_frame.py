"""The frame of every page: new data that was loaded since."""

import itertools

from dashboard.components import layout


def new_data_button(app) -> list:
    return [button for button in app.button if button.key == "show_new_data"]


def test_a_page_offers_data_that_was_loaded_since(open_page, marts, monkeypatch):
    assert not new_data_button(open_page(marts, "price"))
    versions = itertools.count()
    monkeypatch.setattr(layout, "_newest", lambda datasets: (next(versions),))
    app = open_page(marts, "price")
    assert not app.exception
    assert len(new_data_button(app)) == 1
