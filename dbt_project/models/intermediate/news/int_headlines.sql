{{ config(indexes=[{'columns': ['source', 'external_id'], 'unique': true}]) }}

-- One headline of each page and of each title: copies by canonical address, then by title within three days of the copy
-- before. The first one published is kept.
with headlines as (

    select
        headlines.source,
        headlines.external_id,
        headlines.published_at,
        {{ utc_date('headlines.published_at') }} as date,
        headlines.title,
        headlines.url,
        headlines.publisher,
        headlines.language,
        scores.compound,
        scores.score_version,
        scores.crypto_ids,
        scores.canonical_url,
        scores.title_key,
        headlines.fetched_at,
        greatest(headlines.loaded_at, scores.loaded_at) as loaded_at
    from {{ ref('stg_news__headlines') }} as headlines
    inner join {{ ref('stg_news__scores') }} as scores
        on headlines.source = scores.source
        and headlines.external_id = scores.external_id
    where headlines.invalid_reason is null

),

by_page as (

    select
        *,
        min(date_of_page) over (partition by canonical_url) as first_published_at
    from (
        select
            *,
            published_at as date_of_page,
            row_number() over (partition by canonical_url order by published_at, source, external_id) as page_copy
        from headlines
    ) as numbered

),

-- all copies of a page stand at its first publication: a page that another site repeats late is no new story
by_title as (

    select
        *,
        case
            when
                first_published_at
                > lag(first_published_at) over (
                    partition by title_key order by first_published_at, canonical_url, page_copy
                ) + {{ hours(72) }}
                then 1
            else 0
        end as is_later_story
    from by_page

),

stories as (

    select
        *,
        sum(is_later_story) over (
            partition by title_key order by first_published_at, canonical_url, page_copy
            rows between unbounded preceding and current row
        ) as story
    from by_title

),

counted as (

    select
        title_key,
        story,
        count(*)::integer as copy_count,
        count(distinct source)::integer as source_count,
        max(loaded_at) as loaded_at
    from stories
    group by title_key, story

),

-- of a page whose title was edited between two providers, only the first copy stands for it
ranked as (

    select
        *,
        row_number() over (
            partition by title_key, story order by published_at, source, external_id
        ) as story_copy
    from stories
    where page_copy = 1

)

select
    ranked.source,
    ranked.external_id,
    ranked.published_at,
    ranked.date,
    ranked.title,
    ranked.url,
    ranked.publisher,
    ranked.language,
    ranked.compound,
    ranked.score_version,
    ranked.crypto_ids,
    counted.copy_count,
    counted.source_count,
    ranked.fetched_at,
    counted.loaded_at
from ranked
inner join counted
    on ranked.title_key = counted.title_key
    and ranked.story = counted.story
where ranked.story_copy = 1
