-- A run that was killed between its load and its checks left rows that no later run judged.

create table ops.judged_batches (
    judge text not null,
    batch_id text not null,
    judged_at timestamptz not null default clock_timestamp(),
    primary key (judge, batch_id)
);
comment on table ops.judged_batches is
'Which suite, or look for holes, has come to what a run loaded; what is in the ledger and not here, the next run judges.';

-- Runs of the versions before judged what they loaded, or never will.
insert into ops.judged_batches (judge, batch_id)
select distinct
    judges.judge,
    ops.load_ledger.batch_id
from ops.load_ledger
inner join (
    values
    ('binance_klines', 'ops/gaps'),
    ('binance_klines', 'klines_completeness'),
    ('binance_klines', 'klines_reconciliation'),
    ('binance_klines', 'fct_prices'),
    ('coingecko_markets', 'markets_reconciliation'),
    ('fear_greed', 'fear_greed_reconciliation')
) as judges (dataset, judge) on ops.load_ledger.dataset = judges.dataset;
