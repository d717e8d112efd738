select
    source,
    external_id,
    score_version,
    compound,
    tag_version,
    crypto_ids,
    canonical_url,
    title_key,
    loaded_at
from {{ source('raw', 'headline_scores') }}
