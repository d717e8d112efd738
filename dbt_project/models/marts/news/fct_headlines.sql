{{ config(indexes=[{'columns': ['crypto_id', 'date']}]) }}

with headlines as (

    select * from {{ ref('int_headlines') }}

),

-- a headline that names no asset is about the market
named as (

    select
        source,
        external_id,
        unnest(case when cardinality(crypto_ids) = 0 then array['market'] else crypto_ids end) as crypto_id
    from headlines

)

select
    named.crypto_id,
    headlines.source,
    headlines.external_id,
    headlines.published_at,
    headlines.date,
    headlines.title,
    headlines.url,
    headlines.publisher,
    headlines.language,
    headlines.compound,
    case
        when headlines.compound >= 0.2 then 'positive'
        when headlines.compound <= -0.2 then 'negative'
        when headlines.compound is not null then 'neutral'
    end as sentiment,
    headlines.score_version,
    headlines.copy_count,
    headlines.source_count,
    headlines.fetched_at,
    headlines.loaded_at
from named
inner join headlines
    on named.source = headlines.source
    and named.external_id = headlines.external_id
