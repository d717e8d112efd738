"""Assets that headlines name: none rather than a wrong one."""

import csv
from pathlib import Path

import pytest

from ingestion.news.keys import canonical_url, title_key
from ingestion.news.tagging import Tagger, read_terms
from ingestion.settings import PACKAGED_UNIVERSE
from ingestion.universe import read_universe

TAGGER = Tagger((a.crypto_id, a.binance_symbol, a.name) for a in read_universe(PACKAGED_UNIVERSE))
NAMED = {
    "Bitcoin and ether rise": {"bitcoin", "ethereum"},
    "$LINK jumps after upgrade": {"chainlink"},
    "LINK price up 12%": {"chainlink"},
    "Near Protocol raises $150M": {"near"},
    "Toncoin (TON) lists on exchange": {"the-open-network"},
    "OP/USDT breaks out": {"optimism"},
    "Top coins this week: BTC, LINK, NEAR, DOT": {"bitcoin", "chainlink", "near", "polkadot"},
    "Bitcoin Cash forks": {"bitcoin-cash"},
    "Ethereum Classic miners leave": {"ethereum-classic"},
    "Ripple wins in court": {"ripple"},
    "#Bitcoin for all": {"bitcoin"},
    "The Sandbox sells land": {"the-sandbox"},
    "Bitcoin’s price, Ethereum-based funds": {"bitcoin", "ethereum"},
    "Cardano (ADA) and Polkadot rise": {"cardano", "polkadot"},
    "Avalanche launches subnets": {"avalanche-2"},
}
UNNAMED = [
    "ONE more day, no GAS left", "The LINK between stocks and crypto", "NEAR record high on Wall Street",
    "A TON of leverage", "Optimism returns to markets", "Render unto Caesar", "Stellar results at bank",
    "Ripple effects of the collapse", "Bitcoin SV delisted", "An Avalanche of lawsuits", "Cosmos of opportunity",
    "Jupiter probe launched", "ADAPT or die: SOLUTION for ETHICS", "The graph shows a curve", "GALA dinner in the SAND",
    "Immutable ledgers",
    "Curve of rates", "uni students trade", "DOT proposes rules for trucks",
    "Pepe the frog artist", "tron movie sequel", "sui generis", "theta decay of options", "apt name", "FIL the tank",
    "BTCUSD.example.com is down", "visit bitcoin.org", "Bitcoin.com hires", "ENA port reopens", "mana from heaven",
]  # fmt: skip


@pytest.mark.parametrize(("title", "assets"), NAMED.items())
def test_a_named_asset_is_found(title: str, assets: set[str]) -> None:
    assert set(TAGGER.tags(title)) == assets


@pytest.mark.parametrize("title", UNNAMED)
def test_an_ordinary_word_names_no_asset(title: str) -> None:
    assert TAGGER.tags(title) == ()


def test_in_a_headline_of_capitals_symbols_do_not_count_and_names_do() -> None:
    assert TAGGER.tags("ADA AND SOL TOWNS MERGE") == ()
    assert TAGGER.tags("BITCOIN FALLS, ETHEREUM TOO") == ("bitcoin", "ethereum")


def test_an_asset_that_the_file_does_not_list_counts_with_a_sign_only() -> None:
    tagger = Tagger([("new-coin", "NEWUSDT", "New Coin"), ("unlisted", "", "Unlisted")])
    assert tagger.tags("New rules, NEW hopes, new coin minted") == ()
    assert tagger.tags("$NEW listed") == ("new-coin",)
    assert tagger.tags("New Coin (NEW) listed") == ("new-coin",)
    assert tagger.version != TAGGER.version


def test_each_asset_of_the_universe_has_terms() -> None:
    with PACKAGED_UNIVERSE.open() as file:
        universe = {row["crypto_id"] for row in csv.DictReader(file)}
    assert universe <= {crypto_id for crypto_id, _, _ in read_terms()}


def test_addresses_of_one_page_are_equal() -> None:
    same = {
        "https://www.a.example/News/1/?utm_source=x&id=3#top", "http://a.example/News/1?id=3",
        "https://m.a.example:443/News/1/amp?id=3&fbclid=9",
    }  # fmt: skip
    assert len({canonical_url(url) for url in same}) == 1
    assert canonical_url("https://a.example/1") != canonical_url("https://a.example/2")
    assert canonical_url("http://[bad") == "http://[bad"


def test_titles_that_differ_in_case_punctuation_and_publisher_are_equal() -> None:
    assert title_key("Bitcoin falls – Desk News", "desknews.example") == title_key("“Bitcoin” FALLS!")
    assert title_key("Bitcoin falls - then rises", "desk.example") != title_key("Bitcoin falls")
    assert title_key("ارتفاع سعر") != title_key("ビットコイン")
    assert title_key("🚀") == "🚀"


def test_files_are_found_from_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    read_terms.cache_clear()
    assert read_terms()
