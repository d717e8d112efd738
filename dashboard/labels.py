"""What a coin is called on the pages. Its crypto_id is what it is: tickers and names are labels, and not unique."""

from collections import Counter

import pandas as pd

from dashboard.text import same_to_a_reader, shortened, visible


def labels(coins: pd.DataFrame, *columns: str, least: int = 1) -> dict[str, str]:
    """Return a label for each crypto_id: its ticker, and its name or id where two would read alike.

    `columns` are what a label is made of (default: symbol, name), `least` how many of them it has in any case.
    """
    columns = columns or ("symbol", "name")
    parts = {coin["crypto_id"]: _parts(coin, columns) for coin in coins.to_dict("records")}
    taken = {crypto_id: max(1, min(least, len(parts[crypto_id]))) for crypto_id in parts}
    while True:
        found = {crypto_id: _label(crypto_id, parts[crypto_id], taken[crypto_id]) for crypto_id in parts}
        counts = Counter(map(same_to_a_reader, found.values()))
        alike = [crypto_id for crypto_id, text in found.items() if counts[same_to_a_reader(text)] > 1]
        longer = [crypto_id for crypto_id in alike if taken[crypto_id] <= len(parts[crypto_id]) + 1]
        if not longer:
            return found
        for crypto_id in longer:
            taken[crypto_id] += 1


def _parts(coin: dict[str, object], columns: tuple[str, ...]) -> list[str]:
    """Return what a coin's label can be made of; a ticker or name that is null, empty or said already is left out."""
    found: list[str] = []
    for column in columns:
        value = coin[column]
        text = visible(value).strip() if isinstance(value, str) else ""
        text = shortened(text.upper() if column == "symbol" else text)
        if text and same_to_a_reader(text) not in map(same_to_a_reader, found):
            found.append(text)
    return found


def _label(crypto_id: str, parts: list[str], taken: int) -> str:
    if not parts or taken > len(parts) + 1:
        return visible(crypto_id)
    shown = parts[:taken] if taken <= len(parts) else [*parts, visible(crypto_id)]
    return " · ".join(shown)


def coins_called(wanted: str, coins: pd.DataFrame) -> list[str]:
    """Return the crypto_ids that a link means: the id itself, else every coin with that ticker."""
    if wanted in set(coins["crypto_id"]):
        return [wanted]
    tickers = coins["symbol"].fillna("").map(same_to_a_reader)
    return coins.loc[(tickers == same_to_a_reader(wanted)) & (tickers != ""), "crypto_id"].tolist()
