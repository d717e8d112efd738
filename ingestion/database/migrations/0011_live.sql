-- Live prices: trades and tickers of OKX by UTC day, so that old days are dropped as partitions, and what is known of the
-- stream. The loader creates the partitions; bronze keeps every day.

create table raw.okx_trades (
    inst_id text not null,
    trade_id bigint not null,
    ts timestamptz not null,
    price numeric not null,
    size numeric not null,
    side text not null check (side in ('buy', 'sell')),
    fills integer,
    received_at timestamptz not null,
    source_url text not null,
    fetched_at timestamptz not null,
    loaded_at timestamptz not null default clock_timestamp(),
    batch_id text not null,
    primary key (inst_id, trade_id, ts)
) partition by range (ts);
create index okx_trades_ts on raw.okx_trades (ts);
comment on table raw.okx_trades is 'One row per trade message of OKX, partitioned by UTC day.';
comment on column raw.okx_trades.trade_id is 'Id of the last fill of the message: it covers the ids from trade_id - fills + 1 on.';
comment on column raw.okx_trades.side is 'Side of the taker.';
comment on column raw.okx_trades.fills is 'Fills of one taker order in the message; null where OKX does not say, then it is one.';
comment on column raw.okx_trades.received_at is 'When the collector received the message.';

create table raw.okx_tickers (
    inst_id text not null,
    ts timestamptz not null,
    last numeric not null,
    last_size numeric,
    bid numeric,
    bid_size numeric,
    ask numeric,
    ask_size numeric,
    open_24h numeric,
    high_24h numeric,
    low_24h numeric,
    volume_24h numeric,
    quote_volume_24h numeric,
    received_at timestamptz not null,
    source_url text not null,
    fetched_at timestamptz not null,
    loaded_at timestamptz not null default clock_timestamp(),
    batch_id text not null,
    primary key (inst_id, ts)
) partition by range (ts);
create index okx_tickers_ts on raw.okx_tickers (ts);
comment on table raw.okx_tickers is 'One row per ticker message of OKX, partitioned by UTC day.';
comment on column raw.okx_tickers.bid is 'Best bid; null when the order book has none.';
comment on column raw.okx_tickers.volume_24h is 'Volume of the last 24 hours in the base currency.';
comment on column raw.okx_tickers.quote_volume_24h is 'Volume of the last 24 hours in the quote currency.';

create table ops.stream_minutes (
    stream text not null,
    minute timestamptz not null,
    messages bigint not null,
    trades bigint not null,
    tickers bigint not null,
    duplicates bigint not null,
    rejected bigint not null default 0,
    delay_p50_s double precision,
    delay_p95_s double precision,
    primary key (stream, minute)
);
comment on table ops.stream_minutes is
'One row per stream and minute in which messages were loaded; written in the transaction that loads them.';
comment on column ops.stream_minutes.minute is 'The minute in which the load was committed.';
comment on column ops.stream_minutes.duplicates is 'Messages whose record raw had before.';
comment on column ops.stream_minutes.delay_p95_s is
'95th percentile of the seconds from the exchange''s stamp to the commit, of the minute''s slowest load.';

create table ops.stream_gaps (
    gap_id bigint generated always as identity primary key,
    inst_id text not null,
    after_trade_id bigint not null,
    before_trade_id bigint not null,
    opened_at timestamptz not null,
    closed_at timestamptz,
    reason text not null,
    filled_trades bigint not null default 0,
    is_filled boolean not null default false,
    unique (inst_id, after_trade_id, before_trade_id)
);
comment on table ops.stream_gaps is
'One row per span of trade ids that the stream did not deliver: between after_trade_id and before_trade_id.';
comment on column ops.stream_gaps.closed_at is 'When it was filled, or given up; null while it is being filled.';
comment on column ops.stream_gaps.is_filled is 'Whether every trade between the two ids is in raw; ids can skip.';

create table ops.stream_connections (
    connection_id bigint generated always as identity primary key,
    stream text not null default 'okx',
    connected_at timestamptz not null,
    ended_at timestamptz,
    reason text,
    unique (stream, connected_at)
);
comment on table ops.stream_connections is 'One row per connection of a collector, and why it ended.';

create table ops.stream_status (
    stream text primary key,
    broker_id text not null,
    last_sequence bigint not null,
    received_at timestamptz,
    sink_at timestamptz not null,
    broker_bytes bigint not null,
    broker_max_bytes bigint not null,
    pending_messages bigint not null,
    missing_assets text[] not null default '{}',
    problem text
);
comment on table ops.stream_status is 'One row per stream: when the sink last committed, and how full the broker is.';
comment on column ops.stream_status.broker_id is 'When the stream of the broker was created: another one begins at sequence 1.';
comment on column ops.stream_status.last_sequence is
'Sequence of the last message whose record is in raw; written in the transaction that loads it.';
comment on column ops.stream_status.received_at is 'When the collector received the newest loaded message.';
comment on column ops.stream_status.missing_assets is 'Assets of the universe that the exchange does not list.';
