-- Schemas raw and ops as version 0.1.0 knows them. What was released never changes: write the next file instead.
--
-- Every statement may meet its work done: databases from before migrations were counted are brought here by this file.

create table if not exists raw.binance_klines (
    symbol text not null,
    interval text not null,
    open_time timestamptz not null,
    open numeric not null,
    high numeric not null,
    low numeric not null,
    close numeric not null,
    volume numeric not null,
    close_time timestamptz not null,
    quote_volume numeric not null,
    trade_count bigint not null,
    taker_buy_base_volume numeric not null,
    taker_buy_quote_volume numeric not null,
    loaded_at timestamptz not null default clock_timestamp(),
    batch_id text not null,
    primary key (symbol, interval, open_time)
) partition by list (interval);

-- A table that a development version made whole stays whole: everything works on it too, only slower.
do $$
begin
    if (select relkind = 'p' from pg_class where oid = 'raw.binance_klines'::regclass) then
        create table if not exists raw.binance_klines_1m partition of raw.binance_klines for values in ('1m');
        create table if not exists raw.binance_klines_5m partition of raw.binance_klines for values in ('5m');
        create table if not exists raw.binance_klines_15m partition of raw.binance_klines for values in ('15m');
        create table if not exists raw.binance_klines_1h partition of raw.binance_klines for values in ('1h');
        create table if not exists raw.binance_klines_4h partition of raw.binance_klines for values in ('4h');
        create table if not exists raw.binance_klines_1d partition of raw.binance_klines for values in ('1d');
    end if;
end $$;

create table if not exists raw.coingecko_markets (
    crypto_id text not null,
    snapshot_at timestamptz not null,
    symbol text not null,
    name text not null,
    image text,
    market_cap_rank integer,
    current_price numeric,
    market_cap numeric,
    fully_diluted_valuation numeric,
    total_volume numeric,
    high_24h numeric,
    low_24h numeric,
    price_change_24h numeric,
    price_change_percentage_24h numeric,
    market_cap_change_24h numeric,
    market_cap_change_percentage_24h numeric,
    circulating_supply numeric,
    total_supply numeric,
    max_supply numeric,
    ath numeric,
    ath_change_percentage numeric,
    atl numeric,
    atl_change_percentage numeric,
    price_change_percentage_1h_in_currency numeric,
    price_change_percentage_24h_in_currency numeric,
    price_change_percentage_7d_in_currency numeric,
    ath_date timestamptz,
    atl_date timestamptz,
    last_updated timestamptz,
    payload jsonb not null,
    loaded_at timestamptz not null default clock_timestamp(),
    batch_id text not null,
    primary key (crypto_id, snapshot_at)
);

create table if not exists raw.fear_greed (
    date date not null,
    value integer not null,
    classification text not null,
    loaded_at timestamptz not null default clock_timestamp(),
    batch_id text not null,
    primary key (date)
);

create table if not exists raw.universe (
    crypto_id text not null,
    binance_symbol text not null,
    name text not null,
    category text not null,
    valid_from date,
    valid_to date,
    loaded_at timestamptz not null default clock_timestamp(),
    batch_id text not null,
    primary key (crypto_id, binance_symbol)
);

create table if not exists ops.load_ledger (
    object_key text primary key,
    dataset text not null,
    sha256 text not null,
    etag text not null,
    rows bigint not null,
    inserted bigint not null,
    updated bigint not null,
    unchanged bigint not null,
    batch_id text not null,
    loaded_at timestamptz not null default clock_timestamp()
);
comment on table ops.load_ledger is 'One row per bronze object: the version of it that stands in raw, and what loading it changed.';

create table if not exists ops.restatements (
    restatement_id bigint generated always as identity primary key,
    dataset text not null,
    record_key jsonb not null,
    old_record jsonb not null,
    new_record jsonb not null,
    batch_id text not null,
    restated_at timestamptz not null default clock_timestamp()
);
comment on table ops.restatements is 'A value that a source changed after it was loaded: what stood before, and what stands now.';

create table if not exists ops.rejected_records (
    rejected_id bigint generated always as identity primary key,
    dataset text not null,
    object_key text not null,
    record_sha256 text not null,
    record jsonb not null,
    reason text not null,
    batch_id text not null,
    rejected_at timestamptz not null default clock_timestamp(),
    replayed_at timestamptz,
    unique (dataset, record_sha256, reason)
);
comment on table ops.rejected_records is 'Records that break their dataset''s contract, with the reason; the same record is kept once.';

create table if not exists ops.source_fields (
    dataset text not null,
    field text not null,
    example text not null,
    batch_id text not null,
    first_seen_at timestamptz not null default clock_timestamp(),
    primary key (dataset, field)
);
comment on table ops.source_fields is 'Fields that a source sends beyond the declared ones: kept in bronze, reported once.';

create table if not exists ops.symbol_status (
    symbol text primary key,
    status text not null,
    detail text,
    listed_at timestamptz,
    last_bar_at timestamptz,
    checked_at timestamptz not null default clock_timestamp()
);
comment on table ops.symbol_status is 'What the exchange last said of each tracked symbol (TRADING, UNKNOWN, BREAK, ...), and its first bar as probed.';

create table if not exists ops.gaps (
    symbol text not null,
    interval text not null,
    gap_start timestamptz not null,
    gap_end timestamptz not null,
    bars integer not null,
    kind text not null check (kind in ('exchange_halt', 'not_listed', 'delisted', 'missing_locally')),
    asked_again_at timestamptz,
    found_at timestamptz not null default clock_timestamp(),
    primary key (symbol, interval, gap_start)
);
comment on table ops.gaps is 'Each hole in a series of bars, half-open [gap_start, gap_end), and why it is there.';

create table if not exists ops.check_results (
    check_id bigint generated always as identity primary key,
    run_id text not null,
    asset text not null,
    check_name text not null,
    source text not null check (source in ('great_expectations', 'dbt', 'pipeline')),
    severity text not null check (severity in ('warn', 'error')),
    status text not null check (status in ('passed', 'failed', 'error')),
    blocking boolean not null default false,
    observed text,
    expected text,
    failed_rows bigint,
    sample jsonb,
    checked_at timestamptz not null default clock_timestamp()
);
create index if not exists check_results_checked_at on ops.check_results (checked_at);
comment on table ops.check_results is 'Every verdict of every check in one shape; status error means that the check could not run.';

create table if not exists ops.runs (
    run_id text primary key,
    job text not null,
    started_at timestamptz not null,
    ended_at timestamptz,
    status text not null check (status in ('running', 'ok', 'partial', 'failed')),
    summary jsonb
);
comment on table ops.runs is 'One row per refresh or backfill, whoever launched it, with the summary that tickmart prints.';

create table if not exists ops.source_requests (
    request_id bigint generated always as identity primary key,
    source text not null,
    endpoint text not null,
    host text not null,
    requested_at timestamptz not null,
    http_status integer,
    error text,
    latency_ms double precision not null,
    bytes bigint not null,
    attempt integer not null,
    weight integer not null,
    run_id text
);
create index if not exists source_requests_requested_at on ops.source_requests (requested_at);
comment on table ops.source_requests is 'Every HTTP attempt: no query strings, no keys.';

create table if not exists ops.api_budget (
    host text primary key,
    minute timestamptz not null,
    used integer not null,
    weight_limit integer not null,
    banned_until timestamptz,
    month date,
    month_used integer not null default 0
);
alter table ops.api_budget add column if not exists resting_until timestamptz;
comment on table ops.api_budget is 'Request weight of the current minute (and calls of the month) per API host, shared by all processes; a rest that was asked for and a ban outlive restarts here.';

create table if not exists ops.backfills (
    backfill_id bigint generated always as identity primary key,
    dataset text not null,
    source text not null,
    start_date date not null,
    end_date date not null,
    started_at timestamptz not null default clock_timestamp(),
    finished_at timestamptz
);
comment on table ops.backfills is 'Backfills begun and ended; an unfinished one is resumed by the next.';

create table if not exists ops.coverage (
    dataset text not null,
    symbol text not null,
    interval text not null,
    date date not null,
    bars integer not null,
    is_final boolean not null,
    source text not null,
    checked_at timestamptz not null default clock_timestamp(),
    primary key (dataset, symbol, interval, date)
);
alter table ops.coverage add column if not exists closed_until timestamptz;
comment on column ops.coverage.closed_until is 'A bar that closed by this moment had to be in the answer.';
comment on table ops.coverage is 'Which days of which series were asked for and answered, and how many closed bars came; final once the day is over.';

create table if not exists ops.run_stages (
    run_id text not null,
    stage text not null,
    dataset text not null,
    status text not null check (status in ('ok', 'partial', 'failed')),
    rows bigint not null default 0,
    files bigint not null default 0,
    seconds double precision not null default 0,
    detail jsonb not null default '{}'::jsonb,
    ended_at timestamptz not null default clock_timestamp(),
    primary key (run_id, stage, dataset)
);
comment on table ops.run_stages is 'What each stage of a run did: the lines of the summary that tickmart prints.';

create table if not exists ops.versions (
    name text primary key,
    version text not null,
    set_at timestamptz not null default clock_timestamp()
);
comment on table ops.versions is 'Which version of a thing stands in this database, such as the dbt project that built the marts.';

create table if not exists ops.archive_files (
    url text primary key,
    sha256 text not null,
    rows bigint not null,
    loaded_at timestamptz not null default clock_timestamp()
);
comment on table ops.archive_files is 'Bulk archive files by their path, with the checksum they had when their bars were last loaded; another one means that the file was published anew.';

create table if not exists ops.incidents (
    incident_id bigint generated always as identity primary key,
    fingerprint text not null,
    kind text not null check (
        kind in (
            'run_failed', 'check_failed', 'stale_dataset', 'gap_stays', 'schema_drift', 'budget_exhausted', 'daemon_silent'
        )
    ),
    severity text not null check (severity in ('warn', 'error')),
    title text not null,
    detail text not null,
    run_id text,
    opened_at timestamptz not null default clock_timestamp(),
    last_bad_at timestamptz not null default clock_timestamp(),
    recovered_at timestamptz,
    reopened integer not null default 0
);
create unique index if not exists incidents_one_open on ops.incidents (fingerprint) where recovered_at is null;
create index if not exists incidents_fingerprint on ops.incidents (fingerprint, incident_id);
comment on table ops.incidents is 'What is or was wrong, each once from the first sight of it to its recovery, however many runs met it.';
comment on column ops.incidents.reopened is 'How often it came back soon after it had recovered; such an incident is told of once more, and then only when it has held still.';

create table if not exists ops.alerts (
    alert_id bigint generated always as identity primary key,
    incident_id bigint references ops.incidents on delete cascade,
    channel text not null check (channel in ('slack', 'email')),
    event text not null check (event in ('opened', 'reopened', 'recovered', 'digest')),
    dedup_key text not null,
    message jsonb not null,
    created_at timestamptz not null default clock_timestamp(),
    due_at timestamptz not null default clock_timestamp(),
    attempts integer not null default 0,
    sent_at timestamptz,
    refused_at timestamptz,
    last_error text,
    unique (channel, dedup_key)
);
create index if not exists alerts_pending on ops.alerts (channel, alert_id) where sent_at is null and refused_at is null;
comment on table ops.alerts is 'The outbox: one row per message and channel, until it was sent (at least once) or refused for good.';

create table if not exists ops.heartbeats (
    name text primary key,
    beat_at timestamptz not null,
    last_error text
);
comment on table ops.heartbeats is 'When a part last showed that it lives: daemon (the alert sensor''s last tick), dead_man (the last answered ping of HEARTBEAT_URL).';
