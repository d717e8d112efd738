{#-
    The live trades of an hour lie within the hour's range on Binance, widened by `band_pct` percent. Closed hours of the last
    `newest_hours` before the newest bar, with at least `least_minutes` minutes of trades. Returns the hours outside.
-#}
{% test live_prices_match_binance(model, band_pct, least_minutes, newest_hours) %}

with live as (

    select
        crypto_id,
        {{ utc_hour('minute') }} as opened_at,
        min(low) as low,
        max(high) as high,
        count(*) as minutes
    from {{ model }}
    where
        crypto_id is not null
        and last is not null
        and minute >= (select max(last_opened_at) from {{ ref('int_asset_watermarks') }}) - {{ hours(newest_hours) }}
    group by 1, 2
    having count(*) >= {{ least_minutes }}

)

select
    live.*,
    bars.low as low_on_binance,
    bars.high as high_on_binance
from live
inner join {{ ref('fct_prices') }} as bars
    on live.crypto_id = bars.crypto_id and live.opened_at = bars.opened_at
where
    live.low < bars.low * (1 - {{ band_pct }} / 100.0)
    or live.high > bars.high * (1 + {{ band_pct }} / 100.0)

{% endtest %}
