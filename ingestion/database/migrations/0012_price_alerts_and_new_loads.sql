-- Price alerts: two kinds of incidents, and what each price rule has seen of each asset. And an index by which
-- fct_live_1m finds the newest loads of live prices; rows are loaded in order, so that block ranges suffice.

alter table ops.incidents drop constraint incidents_kind_check;
alter table ops.incidents add constraint incidents_kind_check check (
    kind in (
        'run_failed', 'check_failed', 'stale_dataset', 'gap_stays', 'schema_drift', 'budget_exhausted', 'daemon_silent',
        'price_alert', 'price_rules'
    )
);

create table ops.price_rule_states (
    rule text not null,
    crypto_id text not null,
    definition text not null,
    observed_at timestamptz not null,
    met_since timestamptz,
    is_notified boolean not null,
    notified_at timestamptz,
    primary key (rule, crypto_id)
);
comment on table ops.price_rule_states is
'One row per price rule and asset: how far the values are evaluated, so that each crossing is notified once.';
comment on column ops.price_rule_states.definition is
'Digest of the rule that was evaluated; a rule that was changed starts again.';
comment on column ops.price_rule_states.met_since is
'Since when the condition has been met without a gap; null while it is not met.';
comment on column ops.price_rule_states.is_notified is 'Whether the present crossing has been notified.';
comment on column ops.price_rule_states.notified_at is 'When the last notified crossing was known; the cool-down starts there.';

create index okx_trades_loaded_at on raw.okx_trades using brin (loaded_at) with (autosummarize = on);
create index okx_tickers_loaded_at on raw.okx_tickers using brin (loaded_at) with (autosummarize = on);
