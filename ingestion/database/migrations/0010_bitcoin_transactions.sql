-- Bitcoin's blocks and transactions. A day is loaded whole, so its provenance stands in ops.bitcoin_days and the load
-- ledger, not in each of its 700,000 rows.

create table raw.bitcoin_blocks (
    source_day date not null,
    block_hash bytea not null,
    block_number integer not null,
    block_timestamp timestamptz not null,
    median_time timestamptz,
    previous_hash bytea,
    transaction_count integer not null,
    row_count integer not null,
    size_bytes integer,
    weight integer,
    is_final boolean not null,
    left_out text check (left_out in ('stale', 'duplicate')),
    loaded_at timestamptz not null default clock_timestamp(),
    batch_id text not null,
    primary key (source_day, block_hash)
);
-- A block counts once, in whichever folders it is: with the loader, which replaces whole blocks, this keeps
-- (block_hash, txid) unique.
create unique index bitcoin_blocks_counted on raw.bitcoin_blocks (block_hash) where left_out is null;
create index bitcoin_blocks_number on raw.bitcoin_blocks (block_number);
comment on table raw.bitcoin_blocks is 'One row per folder (day) of the source and block; left_out says why a block does not count.';
comment on column raw.bitcoin_blocks.source_day is 'The day of the folder that had the block.';
comment on column raw.bitcoin_blocks.block_timestamp is 'The time in the header, which can lie before that of the block below.';
comment on column raw.bitcoin_blocks.median_time is 'The median of the header times of this block and the ten below it (BIP 113); it only grows.';
comment on column raw.bitcoin_blocks.transaction_count is 'Transactions of the block by its header.';
comment on column raw.bitcoin_blocks.row_count is 'Rows of the block in bronze: fewer than transaction_count when records were rejected.';
comment on column raw.bitcoin_blocks.is_final is 'Whether a daily file had the block, not a file of its own.';

-- Columns by falling alignment: 149 bytes per row, 158 in the order of the source. An index on (block_hash, txid) would
-- add 96 bytes per row; the blocks' index guards the key instead, and times are found by BRIN.
create table raw.bitcoin_transactions (
    block_timestamp timestamptz not null,
    output_sats bigint not null,
    input_sats bigint,
    fee_sats bigint,
    block_number integer not null,
    input_count integer not null,
    output_count integer not null,
    size_bytes integer not null,
    virtual_size integer not null,
    is_coinbase boolean not null,
    block_hash bytea not null,
    txid bytea not null
) partition by range (block_timestamp);
create index bitcoin_transactions_block_timestamp on raw.bitcoin_transactions using brin (block_timestamp)
with (autosummarize = on);
comment on table raw.bitcoin_transactions is 'One row per transaction of a block that counts, partitioned by month; the loader creates the partitions.';
comment on column raw.bitcoin_transactions.fee_sats is 'Null when it is unknown, as it is for a coinbase; 0 is a fee.';

create table ops.bitcoin_days (
    day date primary key,
    status text not null check (status in ('provisional', 'final', 'incomplete')),
    object_key text,
    digest text not null,
    blocks integer not null,
    rows bigint not null,
    problems text[] not null default '{}',
    checked_at timestamptz not null default clock_timestamp(),
    loaded_at timestamptz
);
comment on table ops.bitcoin_days is 'One row per day of Bitcoin transactions: what its folder had when it was last read.';
comment on column ops.bitcoin_days.status is 'final: read from the daily files after 01:30 UTC of the next day; incomplete: to be requested again.';
comment on column ops.bitcoin_days.digest is 'SHA-256 of the folder''s listing (names, sizes, times): a day with the same listing is not read again.';
