"""Display names of coins. A coin is identified by its crypto_id: tickers and names are labels and not unique."""

from collections import Counter

import pandas as pd

from dashboard.text import comparison_key, truncated, visible


def labels(coins: pd.DataFrame, *columns: str, min_parts: int = 1) -> dict[str, str]:
    """Return a distinct label for each crypto_id: its ticker, plus name or id where two labels would look the same.

    `columns` are the parts of a label (default: symbol, name); every label has at least `min_parts` of them.
    """
    columns = columns or ("symbol", "name")
    parts = {coin["crypto_id"]: _parts(coin, columns) for coin in coins.to_dict("records")}
    used = {crypto_id: max(1, min(min_parts, len(parts[crypto_id]))) for crypto_id in parts}
    while True:
        found = {crypto_id: _label(crypto_id, parts[crypto_id], used[crypto_id]) for crypto_id in parts}
        counts = Counter(map(comparison_key, found.values()))
        ambiguous = [crypto_id for crypto_id, text in found.items() if counts[comparison_key(text)] > 1]
        extendable = [crypto_id for crypto_id in ambiguous if used[crypto_id] <= len(parts[crypto_id]) + 1]
        if not extendable:
            return found
        for crypto_id in extendable:
            used[crypto_id] += 1


def _parts(coin: dict[str, object], columns: tuple[str, ...]) -> list[str]:
    """Return the parts of a coin's label, without null, empty and repeated ones."""
    found: list[str] = []
    for column in columns:
        value = coin[column]
        text = visible(value).strip() if isinstance(value, str) else ""
        text = truncated(text.upper() if column == "symbol" else text)
        if text and comparison_key(text) not in map(comparison_key, found):
            found.append(text)
    return found


def _label(crypto_id: str, parts: list[str], used: int) -> str:
    if not parts or used > len(parts) + 1:
        return visible(crypto_id)
    shown = parts[:used] if used <= len(parts) else [*parts, visible(crypto_id)]
    return " · ".join(shown)


def resolve_coin(wanted: str, coins: pd.DataFrame) -> list[str]:
    """Return the crypto_ids that a link can mean: the exact id, else every coin with that ticker or else that name."""
    if wanted in set(coins["crypto_id"]):
        return [wanted]
    key = comparison_key(wanted)
    for column in ("crypto_id", "symbol", "name"):
        keys = coins[column].fillna("").map(comparison_key)
        if key and (keys == key).any():
            return coins.loc[keys == key, "crypto_id"].tolist()
    return []
