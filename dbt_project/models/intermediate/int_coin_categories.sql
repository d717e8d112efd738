-- The declared stablecoins and wrapped tokens, by CoinGecko's id. A name does not say what a coin is: "Wrapped Bitcoin"
-- and "Staked Ether" follow another coin's price, and "Stable Chain" does not.
{{ config(materialized='view', meta={'dataset': 'coingecko_markets'}) }}

{%- set declared = {
    'stablecoin': [
        'tether', 'usd-coin', 'dai', 'usds', 'ethena-usde', 'ethena-staked-usde', 'susds', 'first-digital-usd',
        'paypal-usd', 'true-usd', 'usdd', 'frax', 'frax-usd', 'paxos-standard', 'usual-usd', 'usd1-wlfi',
        'binance-usd', 'binance-bridged-usdt-bnb-smart-chain', 'binance-peg-busd', 'l2-standard-bridged-usdt-base',
        'arbitrum-bridged-usdt-arbitrum', 'usdtb', 'ripple-usd', 'global-dollar', 'usdf', 'falcon-finance', 'usdx',
        'gemini-dollar', 'liquity-usd', 'liquity-bold', 'crvusd', 'gho', 'magic-internet-money', 'alchemix-usd',
        'euro-coin', 'stasis-eurs', 'tether-eurt', 'usdai', 'syrupusdc', 'syrupusdt', 'usdt0', 'bfusd', 'usdy',
        'ondo-us-dollar-yield', 'blackrock-usd-institutional-digital-liquidity-fund', 'hashnote-usyc', 'resolv-usr',
        'savings-dai', 'agora-dollar', 'm-by-m0', 'usdb-blast',
        'bridged-usdc-polygon-pos-bridge', 'polygon-bridged-usdt-polygon', 'kinesis-usd'
    ],
    'wrapped token': [
        'wrapped-bitcoin', 'wrapped-steth', 'weth', 'staked-ether', 'wrapped-eeth', 'coinbase-wrapped-btc', 'wbnb',
        'wrapped-beacon-eth', 'binance-bitcoin', 'binance-peg-weth', 'binance-staked-sol', 'jito-staked-sol',
        'msol', 'jupiter-staked-sol', 'rocket-pool-eth', 'kelp-dao-restaked-eth', 'mantle-staked-ether', 'meth',
        'coinbase-wrapped-staked-eth', 'renzo-restaked-eth', 'frax-ether', 'staked-frax-ether', 'stakewise-v3-oseth',
        'liquid-staked-ethereum', 'ether-fi-staked-eth', 'ether-fi-staked-btc', 'lombard-staked-btc', 'solv-btc',
        'solv-protocol-solvbtc-bbn', 'tbtc', 'fbtc', 'ignition-fbtc', 'renbtc', 'huobi-btc', 'btcb',
        'wrapped-avax', 'wrapped-solana', 'wrapped-tron', 'wrapped-hype', 'arbitrum-bridged-weth-arbitrum-one',
        'l2-standard-bridged-weth-base', 'polygon-pos-bridged-weth-polygon-pos', 'arbitrum-bridged-wbtc-arbitrum-one',
        'swell-restaked-eth', 'marinade-staked-sol', 'bnsol',
        'lido-staked-sol', 'stader-ethx', 'ankreth', 'benqi-liquid-staked-avax', 'wrapped-flare',
        'kinetiq-staked-hype', 'wrapped-near', 'bridged-wrapped-bitcoin', 'universal-btc', 'pumpbtc', 'lorenzo-stbtc'
    ],
} %}

select
    crypto_id,
    category
from (
    values
    {% for category, crypto_ids in declared.items() -%}
        {%- set last_category = loop.last -%}
        {%- for crypto_id in crypto_ids -%}
            ('{{ crypto_id }}', '{{ category }}'){{ ',' if not (loop.last and last_category) }}
    {% endfor -%}
    {%- endfor -%}
) as declared (crypto_id, category)
