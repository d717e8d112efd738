-- Until now the English sentence of a Great Expectations rule was its key, so that rewording it lost its history and
-- alerted again. check_name is an id from here on, and the sentence is a description.

alter table ops.check_results add column description text;
comment on column ops.check_results.check_name is 'The id of the check: with asset its key, and never reworded.';
comment on column ops.check_results.description is 'What the check states, in words that may change.';

create temporary table renamed_checks (layer text, sentence text, id text not null, primary key (layer, sentence));
insert into renamed_checks (layer, sentence, id)
values
('bronze', 'there is something to load', 'has_rows'),
('bronze', 'one bar per symbol, interval and open time', 'unique_key'),
('bronze', 'one row per coin and snapshot', 'unique_key'),
('bronze', 'one value per day and object', 'unique_key'),
('bronze', 'every bar opens on the day of its object', 'bars_open_on_object_day'),
('bronze', 'every bar opens on the grid of its interval', 'bars_open_on_interval_grid'),
('bronze', 'only tracked symbols', 'symbols_are_tracked'),
('bronze', 'volume only where there were trades', 'volume_has_trades'),
('bronze', 'volume above 0 where there were trades', 'trades_have_volume'),
('bronze', 'every tracked coin is in the snapshot', 'tracked_coins_present'),
('bronze', 'nearly every coin has a price', 'most_coins_have_price'),
('bronze', 'ranks begin at 1', 'market_cap_rank_is_positive'),
('bronze', 'the class is a known one', 'classification_is_known'),
('raw', 'every tracked symbol was asked for and answered', 'symbol_days_requested'),
('raw', 'no bar is missing', 'no_missing_bars'),
('raw', 'no more bars than hours', 'bars_per_day_at_most_24'),
('raw', 'there is data at all', 'has_data'),
('raw', 'the newest data is as young as promised', 'data_within_sla'),
('raw', 'no data is from the future', 'no_future_data'),
('staging', 'raw has the rows of bronze', 'raw_matches_bronze'),
('staging', 'raw has the days of bronze', 'raw_has_bronze_days'),
('staging', 'staging has the rows of raw', 'staging_matches_raw'),
('staging', 'fct_prices has the tracked rows of staging', 'fct_prices_matches_staging'),
('staging', 'not fewer rows than that weekday brings', 'daily_rows_not_below_band'),
('staging', 'not more rows than that weekday brings', 'daily_rows_not_above_band'),
('staging', 'fct_market_snapshots has the rows of staging', 'fct_market_snapshots_matches_staging'),
('staging', 'not fewer coins than snapshots bring', 'snapshot_rows_not_below_band'),
('staging', 'not more coins than snapshots bring', 'snapshot_rows_not_above_band'),
('staging', 'fct_sentiment_daily has the rows of staging', 'fct_sentiment_daily_matches_staging'),
('staging', 'at most three days of the last month are missing', 'few_missing_days'),
('staging', 'no step beyond 50 in the last month', 'daily_step_in_range'),
('marts', 'the range holds bars', 'has_bars'),
(
    'marts', 'the bar''s VWAP lies between low and high (to the last place of the exchange''s rounding)',
    'vwap_between_low_and_high'
),
('marts', 'takers bought no more than was traded', 'taker_volume_at_most_volume'),
('marts', 'no metric is NaN or infinite', 'metrics_are_finite'),
('marts', 'moving averages lie within a factor of 100 of the price', 'moving_averages_near_price'),
('marts', 'volatility is a fraction a year, not a percentage', 'volatility_30d_in_range'),
('marts', 'an hour''s return is within what markets have shown', 'return_1h_in_range'),
('marts', 'no jump beyond 60 of the asset''s own sigmas', 'no_extreme_jump'),
('marts', 'the median coin differs by less than 3%', 'median_divergence_in_range'),
('marts', 'no coin differs by more than 20%', 'coin_divergence_in_range');
insert into renamed_checks (layer, sentence, id)
select
    layers.layer,
    'the suite could run' as sentence,
    'suite_runs' as id
from (values ('bronze'), ('raw'), ('staging'), ('marts')) as layers (layer);
-- These repeated the contract of their dataset rule by rule. One check applies the contract itself now.
insert into renamed_checks (layer, sentence, id)
select
    'bronze' as layer,
    rules.sentence,
    'records_meet_contract' as id
from unnest(
    array[
        'symbol is there', 'interval is there', 'open_time is there', 'close_time is there', 'open is there',
        'high is there', 'low is there', 'close is there', 'volume is there', 'quote_volume is there',
        'trade_count is there', 'open is above 0', 'high is above 0', 'low is above 0', 'close is above 0',
        'base volume is not negative', 'quote volume is not negative', 'the number of trades is not negative',
        'high is not below low', 'open lies between low and high', 'close lies between low and high',
        'takers bought no more than was traded', 'takers paid no more than was paid', 'a bar closes after it opens',
        'every coin has its JSON', 'prices are not negative', 'market caps are not negative',
        'volumes are not negative', 'value is there', 'the index is from 0 to 100'
    ]
) as rules (sentence);

-- Where one validation gave several results of what is one check now, the worst is that check's result.
with results as (
    select
        known.check_id,
        known.run_id,
        known.asset,
        known.status,
        renamed_checks.id,
        -- a run that repeats a validation has each sentence again
        row_number() over (partition by known.run_id, known.asset, known.check_name order by known.check_id) as attempt
    from ops.check_results as known
    inner join renamed_checks
        on renamed_checks.layer = split_part(known.asset, '/', 1) and renamed_checks.sentence = known.check_name
    where known.source = 'great_expectations'
),
ranked as (
    select
        check_id,
        row_number() over (
            partition by run_id, asset, id, attempt order by status = 'passed', check_id
        ) as place
    from results
)
delete from ops.check_results using ranked
where ops.check_results.check_id = ranked.check_id and ranked.place > 1;

update ops.check_results set check_name = renamed_checks.id, description = renamed_checks.sentence
from renamed_checks
where
    ops.check_results.source = 'great_expectations'
    and renamed_checks.layer = split_part(ops.check_results.asset, '/', 1)
    and renamed_checks.sentence = ops.check_results.check_name;

-- A fingerprint is check_failed:<asset>:<check_name>. Incidents keep their numbers, by which the outbox refers to them.
create temporary table renamed_incidents as
select
    known.incident_id,
    known.recovered_at is null as is_open,
    concat_ws(':', 'check_failed', split_part(known.fingerprint, ':', 2), renamed_checks.id) as fingerprint
from ops.incidents as known
inner join renamed_checks
    on
        known.fingerprint
        = concat_ws(':', 'check_failed', split_part(known.fingerprint, ':', 2), renamed_checks.sentence)
        and renamed_checks.layer = split_part(split_part(known.fingerprint, ':', 2), '/', 1)
where known.kind = 'check_failed';

-- Of several open incidents of what is one check now, the newest continues.
update ops.incidents set recovered_at = clock_timestamp()
from renamed_incidents as older
inner join renamed_incidents as newer
    on older.fingerprint = newer.fingerprint and older.incident_id < newer.incident_id
where older.is_open and newer.is_open and ops.incidents.incident_id = older.incident_id;

update ops.incidents set fingerprint = renamed_incidents.fingerprint
from renamed_incidents
where ops.incidents.incident_id = renamed_incidents.incident_id;

drop table renamed_checks, renamed_incidents;
