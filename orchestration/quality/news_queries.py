"""SQL over headlines: the rows of their suite. Does not belong here: rules (``suites``), running a suite."""

from __future__ import annotations

# A source with fewer headlines a day than this may have a day without any; shares of fewer headlines say nothing.
_USUAL_PER_DAY, _FEWEST = 3, 50
# What UTF-8 read as Latin-1 or Windows-1252 looks like, and the sign that replaces what cannot be read.
_DAMAGED = "'(\ufffd|Ã[\u0080-\u00bf]|â€|Â[\u00a0-\u00bf])'"
# The last thirty days by source: the part of the history that new fetches change.
HEADLINES = f"""
    with recent as (
        select h.source, (h.published_at at time zone 'UTC')::date as date, h.title, h.language, s.compound,
            s.source is null or (s.compound is null and lower(h.language) in ('en', 'eng', 'english')) as is_unscored,
            cardinality(s.crypto_ids) = 0 as is_untagged
        from raw.headlines as h
        left join raw.headline_scores as s on h.source = s.source and h.external_id = s.external_id
        where h.published_at > current_timestamp - interval '30 days'
    ),
    per_day as (
        select source, date, count(*) as headlines from recent
        where date < (current_timestamp at time zone 'UTC')::date group by source, date
    ),
    missing as (
        -- days between the first and the newest full day that the source has, of the last week
        select source, (count(*) filter (where date > last - 7) < least(7, last - first + 1))::integer
            * (least(7, last - first + 1) - count(*) filter (where date > last - 7))::integer as missing_days
        from (
            select *, min(date) over (partition by source) as first, max(date) over (partition by source) as last,
                avg(headlines) over (partition by source) as usual
            from per_day
        ) as days
        where usual >= {_USUAL_PER_DAY}
        group by source, first, last
    ),
    copies as (
        select source, max(copy_count)::integer as most_copies from marts.fct_headlines
        where date > (current_timestamp at time zone 'UTC')::date - 7 group by source
    )
    select
        recent.source,
        count(*)::integer as headlines,
        coalesce(max(missing.missing_days), 0) as missing_days,
        count(*) filter (where is_unscored)::integer as unscored,
        min(compound) as lowest_score,
        max(compound) as highest_score,
        case when count(compound) >= {_FEWEST}
            then (100.0 * count(*) filter (where abs(compound) < 0.2) / count(compound))::float8 end as neutral_pct,
        case when count(*) >= {_FEWEST}
            then (100.0 * count(*) filter (where is_untagged) / count(*))::float8 end as untagged_pct,
        (100.0 * count(*) filter (where title ~ {_DAMAGED}) / count(*))::float8 as damaged_pct,
        coalesce(max(copies.most_copies), 0) as most_copies
    from recent
    left join missing on recent.source = missing.source
    left join copies on recent.source = copies.source
    group by recent.source
"""  # noqa: S608 - constants
