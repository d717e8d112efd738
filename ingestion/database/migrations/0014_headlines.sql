-- Headlines, one partition per provider, so that each dataset loads a table of its own name; their scores and the assets
-- they name, which runs derive from them; and GDELT's daily tone.

create table raw.headlines (
    source text not null,
    external_id text not null,
    published_at timestamptz not null,
    title text not null,
    url text not null,
    publisher text,
    language text,
    country text,
    channel text not null,
    page_authors integer,
    source_url text not null,
    fetched_at timestamptz not null,
    loaded_at timestamptz not null default clock_timestamp(),
    batch_id text not null,
    primary key (source, external_id)
) partition by list (source);

create table raw.headlines_gdelt partition of raw.headlines for values in ('gdelt');
create table raw.headlines_hackernews partition of raw.headlines for values in ('hackernews');
create table raw.headlines_rss partition of raw.headlines for values in ('rss');
create table raw.headlines_x partition of raw.headlines for values in ('x');

create table raw.headline_scores (
    source text not null,
    external_id text not null,
    title_hash text not null,
    score_version text not null,
    compound double precision,
    tag_version text not null,
    crypto_ids text[] not null,
    canonical_url text not null,
    title_key text not null,
    loaded_at timestamptz not null default clock_timestamp(),
    primary key (source, external_id)
);
comment on table raw.headline_scores is
'One row per headline: its sentiment score, the assets that it names, and the keys by which repeated headlines are found.';
comment on column raw.headline_scores.compound is
'VADER compound score with the crypto lexicon, -1 to 1; null where the headline is not English.';

create table raw.news_tone_gdelt (
    topic text not null,
    date date not null,
    tone numeric not null,
    source_url text not null,
    fetched_at timestamptz not null,
    loaded_at timestamptz not null default clock_timestamp(),
    batch_id text not null,
    primary key (topic, date)
);

create table ops.post_checks (
    external_id text primary key,
    checked_at timestamptz not null
);
comment on table ops.post_checks is
'When X was last asked whether a stored post still exists; posts that are gone are deleted here.';
