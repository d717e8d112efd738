--
-- PostgreSQL database dump
--


-- Dumped from database version 18.4
-- Dumped by pg_dump version 18.4

SET statement_timeout = 0;
SET lock_timeout = 0;
SET idle_in_transaction_session_timeout = 0;
SET transaction_timeout = 0;
SET client_encoding = 'UTF8';
SET standard_conforming_strings = on;
SELECT pg_catalog.set_config('search_path', '', false);
SET check_function_bodies = false;
SET xmloption = content;
SET client_min_messages = warning;
SET row_security = off;

--
-- Name: ops; Type: SCHEMA; Schema: -; Owner: ingest
--

CREATE SCHEMA ops;


ALTER SCHEMA ops OWNER TO ingest;

--
-- Name: SCHEMA ops; Type: COMMENT; Schema: -; Owner: ingest
--

COMMENT ON SCHEMA ops IS 'tickmart 947fad2943beeea2a07f8254534bb318a2232232e25a435fa86f98e574e484d9';


--
-- Name: raw; Type: SCHEMA; Schema: -; Owner: ingest
--

CREATE SCHEMA raw;


ALTER SCHEMA raw OWNER TO ingest;

SET default_tablespace = '';

SET default_table_access_method = heap;

--
-- Name: alerts; Type: TABLE; Schema: ops; Owner: ingest
--

CREATE TABLE ops.alerts (
    alert_id bigint NOT NULL,
    incident_id bigint,
    channel text NOT NULL,
    event text NOT NULL,
    dedup_key text NOT NULL,
    message jsonb NOT NULL,
    created_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    due_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    attempts integer DEFAULT 0 NOT NULL,
    sent_at timestamp with time zone,
    refused_at timestamp with time zone,
    last_error text,
    CONSTRAINT alerts_channel_check CHECK ((channel = ANY (ARRAY['slack'::text, 'email'::text]))),
    CONSTRAINT alerts_event_check CHECK ((event = ANY (ARRAY['opened'::text, 'reopened'::text, 'recovered'::text, 'digest'::text])))
);


ALTER TABLE ops.alerts OWNER TO ingest;

--
-- Name: TABLE alerts; Type: COMMENT; Schema: ops; Owner: ingest
--

COMMENT ON TABLE ops.alerts IS 'The outbox: one row per message and channel, until it was sent (at least once) or refused for good.';


--
-- Name: alerts_alert_id_seq; Type: SEQUENCE; Schema: ops; Owner: ingest
--

ALTER TABLE ops.alerts ALTER COLUMN alert_id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME ops.alerts_alert_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);


--
-- Name: api_budget; Type: TABLE; Schema: ops; Owner: ingest
--

CREATE TABLE ops.api_budget (
    host text NOT NULL,
    minute timestamp with time zone NOT NULL,
    used integer NOT NULL,
    weight_limit integer NOT NULL,
    banned_until timestamp with time zone,
    month date,
    month_used integer DEFAULT 0 NOT NULL,
    resting_until timestamp with time zone
);


ALTER TABLE ops.api_budget OWNER TO ingest;

--
-- Name: TABLE api_budget; Type: COMMENT; Schema: ops; Owner: ingest
--

COMMENT ON TABLE ops.api_budget IS 'Request weight of the current minute (and calls of the month) per API host, shared by all processes; a rest that was asked for and a ban outlive restarts here.';


--
-- Name: archive_files; Type: TABLE; Schema: ops; Owner: ingest
--

CREATE TABLE ops.archive_files (
    url text NOT NULL,
    sha256 text NOT NULL,
    rows bigint NOT NULL,
    loaded_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL
);


ALTER TABLE ops.archive_files OWNER TO ingest;

--
-- Name: TABLE archive_files; Type: COMMENT; Schema: ops; Owner: ingest
--

COMMENT ON TABLE ops.archive_files IS 'Bulk archive files by their path, with the checksum they had when their bars were last loaded; another one means that the file was published anew.';


--
-- Name: backfills; Type: TABLE; Schema: ops; Owner: ingest
--

CREATE TABLE ops.backfills (
    backfill_id bigint NOT NULL,
    dataset text NOT NULL,
    source text NOT NULL,
    start_date date NOT NULL,
    end_date date NOT NULL,
    started_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    finished_at timestamp with time zone
);


ALTER TABLE ops.backfills OWNER TO ingest;

--
-- Name: TABLE backfills; Type: COMMENT; Schema: ops; Owner: ingest
--

COMMENT ON TABLE ops.backfills IS 'Backfills begun and ended; an unfinished one is resumed by the next.';


--
-- Name: backfills_backfill_id_seq; Type: SEQUENCE; Schema: ops; Owner: ingest
--

ALTER TABLE ops.backfills ALTER COLUMN backfill_id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME ops.backfills_backfill_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);


--
-- Name: check_results; Type: TABLE; Schema: ops; Owner: ingest
--

CREATE TABLE ops.check_results (
    check_id bigint NOT NULL,
    run_id text NOT NULL,
    asset text NOT NULL,
    check_name text NOT NULL,
    source text NOT NULL,
    severity text NOT NULL,
    status text NOT NULL,
    blocking boolean DEFAULT false NOT NULL,
    observed text,
    expected text,
    failed_rows bigint,
    sample jsonb,
    checked_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT check_results_severity_check CHECK ((severity = ANY (ARRAY['warn'::text, 'error'::text]))),
    CONSTRAINT check_results_source_check CHECK ((source = ANY (ARRAY['great_expectations'::text, 'dbt'::text, 'pipeline'::text]))),
    CONSTRAINT check_results_status_check CHECK ((status = ANY (ARRAY['passed'::text, 'failed'::text, 'error'::text])))
);


ALTER TABLE ops.check_results OWNER TO ingest;

--
-- Name: TABLE check_results; Type: COMMENT; Schema: ops; Owner: ingest
--

COMMENT ON TABLE ops.check_results IS 'Every verdict of every check in one shape; status error means that the check could not run.';


--
-- Name: check_results_check_id_seq; Type: SEQUENCE; Schema: ops; Owner: ingest
--

ALTER TABLE ops.check_results ALTER COLUMN check_id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME ops.check_results_check_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);


--
-- Name: coverage; Type: TABLE; Schema: ops; Owner: ingest
--

CREATE TABLE ops.coverage (
    dataset text NOT NULL,
    symbol text NOT NULL,
    "interval" text NOT NULL,
    date date NOT NULL,
    bars integer NOT NULL,
    is_final boolean NOT NULL,
    source text NOT NULL,
    checked_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    closed_until timestamp with time zone
);


ALTER TABLE ops.coverage OWNER TO ingest;

--
-- Name: TABLE coverage; Type: COMMENT; Schema: ops; Owner: ingest
--

COMMENT ON TABLE ops.coverage IS 'Which days of which series were asked for and answered, and how many closed bars came; final once the day is over.';


--
-- Name: COLUMN coverage.closed_until; Type: COMMENT; Schema: ops; Owner: ingest
--

COMMENT ON COLUMN ops.coverage.closed_until IS 'A bar that closed by this moment had to be in the answer.';


--
-- Name: gaps; Type: TABLE; Schema: ops; Owner: ingest
--

CREATE TABLE ops.gaps (
    symbol text NOT NULL,
    "interval" text NOT NULL,
    gap_start timestamp with time zone NOT NULL,
    gap_end timestamp with time zone NOT NULL,
    bars integer NOT NULL,
    kind text NOT NULL,
    asked_again_at timestamp with time zone,
    found_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT gaps_kind_check CHECK ((kind = ANY (ARRAY['exchange_halt'::text, 'not_listed'::text, 'delisted'::text, 'missing_locally'::text])))
);


ALTER TABLE ops.gaps OWNER TO ingest;

--
-- Name: TABLE gaps; Type: COMMENT; Schema: ops; Owner: ingest
--

COMMENT ON TABLE ops.gaps IS 'Each hole in a series of bars, half-open [gap_start, gap_end), and why it is there.';


--
-- Name: heartbeats; Type: TABLE; Schema: ops; Owner: ingest
--

CREATE TABLE ops.heartbeats (
    name text NOT NULL,
    beat_at timestamp with time zone NOT NULL,
    last_error text
);


ALTER TABLE ops.heartbeats OWNER TO ingest;

--
-- Name: TABLE heartbeats; Type: COMMENT; Schema: ops; Owner: ingest
--

COMMENT ON TABLE ops.heartbeats IS 'When a part last showed that it lives: daemon (the alert sensor''s last tick), dead_man (the last answered ping of HEARTBEAT_URL).';


--
-- Name: incidents; Type: TABLE; Schema: ops; Owner: ingest
--

CREATE TABLE ops.incidents (
    incident_id bigint NOT NULL,
    fingerprint text NOT NULL,
    kind text NOT NULL,
    severity text NOT NULL,
    title text NOT NULL,
    detail text NOT NULL,
    run_id text,
    opened_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    last_bad_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    recovered_at timestamp with time zone,
    reopened integer DEFAULT 0 NOT NULL,
    CONSTRAINT incidents_kind_check CHECK ((kind = ANY (ARRAY['run_failed'::text, 'check_failed'::text, 'stale_dataset'::text, 'gap_stays'::text, 'schema_drift'::text, 'budget_exhausted'::text, 'daemon_silent'::text]))),
    CONSTRAINT incidents_severity_check CHECK ((severity = ANY (ARRAY['warn'::text, 'error'::text])))
);


ALTER TABLE ops.incidents OWNER TO ingest;

--
-- Name: TABLE incidents; Type: COMMENT; Schema: ops; Owner: ingest
--

COMMENT ON TABLE ops.incidents IS 'What is or was wrong, each once from the first sight of it to its recovery, however many runs met it.';


--
-- Name: COLUMN incidents.reopened; Type: COMMENT; Schema: ops; Owner: ingest
--

COMMENT ON COLUMN ops.incidents.reopened IS 'How often it came back soon after it had recovered; such an incident is told of once more, and then only when it has held still.';


--
-- Name: incidents_incident_id_seq; Type: SEQUENCE; Schema: ops; Owner: ingest
--

ALTER TABLE ops.incidents ALTER COLUMN incident_id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME ops.incidents_incident_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);


--
-- Name: load_ledger; Type: TABLE; Schema: ops; Owner: ingest
--

CREATE TABLE ops.load_ledger (
    object_key text NOT NULL,
    dataset text NOT NULL,
    sha256 text NOT NULL,
    etag text NOT NULL,
    rows bigint NOT NULL,
    inserted bigint NOT NULL,
    updated bigint NOT NULL,
    unchanged bigint NOT NULL,
    batch_id text NOT NULL,
    loaded_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL
);


ALTER TABLE ops.load_ledger OWNER TO ingest;

--
-- Name: TABLE load_ledger; Type: COMMENT; Schema: ops; Owner: ingest
--

COMMENT ON TABLE ops.load_ledger IS 'One row per bronze object: the version of it that stands in raw, and what loading it changed.';


--
-- Name: migrations; Type: TABLE; Schema: ops; Owner: ingest
--

CREATE TABLE ops.migrations (
    number integer NOT NULL,
    name text NOT NULL,
    checksum text NOT NULL,
    applied_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL
);


ALTER TABLE ops.migrations OWNER TO ingest;

--
-- Name: TABLE migrations; Type: COMMENT; Schema: ops; Owner: ingest
--

COMMENT ON TABLE ops.migrations IS 'The migrations that this database has gone through, each with the SHA-256 of the file as it was applied.';


--
-- Name: rejected_records; Type: TABLE; Schema: ops; Owner: ingest
--

CREATE TABLE ops.rejected_records (
    rejected_id bigint NOT NULL,
    dataset text NOT NULL,
    object_key text NOT NULL,
    record_sha256 text NOT NULL,
    record jsonb NOT NULL,
    reason text NOT NULL,
    batch_id text NOT NULL,
    rejected_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    replayed_at timestamp with time zone
);


ALTER TABLE ops.rejected_records OWNER TO ingest;

--
-- Name: TABLE rejected_records; Type: COMMENT; Schema: ops; Owner: ingest
--

COMMENT ON TABLE ops.rejected_records IS 'Records that break their dataset''s contract, with the reason; the same record is kept once.';


--
-- Name: rejected_records_rejected_id_seq; Type: SEQUENCE; Schema: ops; Owner: ingest
--

ALTER TABLE ops.rejected_records ALTER COLUMN rejected_id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME ops.rejected_records_rejected_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);


--
-- Name: restatements; Type: TABLE; Schema: ops; Owner: ingest
--

CREATE TABLE ops.restatements (
    restatement_id bigint NOT NULL,
    dataset text NOT NULL,
    record_key jsonb NOT NULL,
    old_record jsonb NOT NULL,
    new_record jsonb NOT NULL,
    batch_id text NOT NULL,
    restated_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL
);


ALTER TABLE ops.restatements OWNER TO ingest;

--
-- Name: TABLE restatements; Type: COMMENT; Schema: ops; Owner: ingest
--

COMMENT ON TABLE ops.restatements IS 'A value that a source changed after it was loaded: what stood before, and what stands now.';


--
-- Name: restatements_restatement_id_seq; Type: SEQUENCE; Schema: ops; Owner: ingest
--

ALTER TABLE ops.restatements ALTER COLUMN restatement_id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME ops.restatements_restatement_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);


--
-- Name: run_stages; Type: TABLE; Schema: ops; Owner: ingest
--

CREATE TABLE ops.run_stages (
    run_id text NOT NULL,
    stage text NOT NULL,
    dataset text NOT NULL,
    status text NOT NULL,
    rows bigint DEFAULT 0 NOT NULL,
    files bigint DEFAULT 0 NOT NULL,
    seconds double precision DEFAULT 0 NOT NULL,
    detail jsonb DEFAULT '{}'::jsonb NOT NULL,
    ended_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT run_stages_status_check CHECK ((status = ANY (ARRAY['ok'::text, 'partial'::text, 'failed'::text])))
);


ALTER TABLE ops.run_stages OWNER TO ingest;

--
-- Name: TABLE run_stages; Type: COMMENT; Schema: ops; Owner: ingest
--

COMMENT ON TABLE ops.run_stages IS 'What each stage of a run did: the lines of the summary that tickmart prints.';


--
-- Name: runs; Type: TABLE; Schema: ops; Owner: ingest
--

CREATE TABLE ops.runs (
    run_id text NOT NULL,
    job text NOT NULL,
    started_at timestamp with time zone NOT NULL,
    ended_at timestamp with time zone,
    status text NOT NULL,
    summary jsonb,
    CONSTRAINT runs_status_check CHECK ((status = ANY (ARRAY['running'::text, 'ok'::text, 'partial'::text, 'failed'::text])))
);


ALTER TABLE ops.runs OWNER TO ingest;

--
-- Name: TABLE runs; Type: COMMENT; Schema: ops; Owner: ingest
--

COMMENT ON TABLE ops.runs IS 'One row per refresh or backfill, whoever launched it, with the summary that tickmart prints.';


--
-- Name: source_fields; Type: TABLE; Schema: ops; Owner: ingest
--

CREATE TABLE ops.source_fields (
    dataset text NOT NULL,
    field text NOT NULL,
    example text NOT NULL,
    batch_id text NOT NULL,
    first_seen_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL
);


ALTER TABLE ops.source_fields OWNER TO ingest;

--
-- Name: TABLE source_fields; Type: COMMENT; Schema: ops; Owner: ingest
--

COMMENT ON TABLE ops.source_fields IS 'Fields that a source sends beyond the declared ones: kept in bronze, reported once.';


--
-- Name: source_requests; Type: TABLE; Schema: ops; Owner: ingest
--

CREATE TABLE ops.source_requests (
    request_id bigint NOT NULL,
    source text NOT NULL,
    endpoint text NOT NULL,
    host text NOT NULL,
    requested_at timestamp with time zone NOT NULL,
    http_status integer,
    error text,
    latency_ms double precision NOT NULL,
    bytes bigint NOT NULL,
    attempt integer NOT NULL,
    weight integer NOT NULL,
    run_id text
);


ALTER TABLE ops.source_requests OWNER TO ingest;

--
-- Name: TABLE source_requests; Type: COMMENT; Schema: ops; Owner: ingest
--

COMMENT ON TABLE ops.source_requests IS 'Every HTTP attempt: no query strings, no keys.';


--
-- Name: source_requests_request_id_seq; Type: SEQUENCE; Schema: ops; Owner: ingest
--

ALTER TABLE ops.source_requests ALTER COLUMN request_id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME ops.source_requests_request_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);


--
-- Name: symbol_status; Type: TABLE; Schema: ops; Owner: ingest
--

CREATE TABLE ops.symbol_status (
    symbol text NOT NULL,
    status text NOT NULL,
    detail text,
    listed_at timestamp with time zone,
    last_bar_at timestamp with time zone,
    checked_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL
);


ALTER TABLE ops.symbol_status OWNER TO ingest;

--
-- Name: TABLE symbol_status; Type: COMMENT; Schema: ops; Owner: ingest
--

COMMENT ON TABLE ops.symbol_status IS 'What the exchange last said of each tracked symbol (TRADING, UNKNOWN, BREAK, ...), and its first bar as probed.';


--
-- Name: versions; Type: TABLE; Schema: ops; Owner: ingest
--

CREATE TABLE ops.versions (
    name text NOT NULL,
    version text NOT NULL,
    set_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL
);


ALTER TABLE ops.versions OWNER TO ingest;

--
-- Name: TABLE versions; Type: COMMENT; Schema: ops; Owner: ingest
--

COMMENT ON TABLE ops.versions IS 'Which version of a thing stands in this database, such as the dbt project that built the marts.';


--
-- Name: binance_klines; Type: TABLE; Schema: raw; Owner: ingest
--

CREATE TABLE raw.binance_klines (
    symbol text NOT NULL,
    "interval" text NOT NULL,
    open_time timestamp with time zone NOT NULL,
    open numeric NOT NULL,
    high numeric NOT NULL,
    low numeric NOT NULL,
    close numeric NOT NULL,
    volume numeric NOT NULL,
    close_time timestamp with time zone NOT NULL,
    quote_volume numeric NOT NULL,
    trade_count bigint NOT NULL,
    taker_buy_base_volume numeric NOT NULL,
    taker_buy_quote_volume numeric NOT NULL,
    loaded_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    batch_id text NOT NULL
)
PARTITION BY LIST ("interval");


ALTER TABLE raw.binance_klines OWNER TO ingest;

--
-- Name: binance_klines_15m; Type: TABLE; Schema: raw; Owner: ingest
--

CREATE TABLE raw.binance_klines_15m (
    symbol text CONSTRAINT binance_klines_symbol_not_null NOT NULL,
    "interval" text CONSTRAINT binance_klines_interval_not_null NOT NULL,
    open_time timestamp with time zone CONSTRAINT binance_klines_open_time_not_null NOT NULL,
    open numeric CONSTRAINT binance_klines_open_not_null NOT NULL,
    high numeric CONSTRAINT binance_klines_high_not_null NOT NULL,
    low numeric CONSTRAINT binance_klines_low_not_null NOT NULL,
    close numeric CONSTRAINT binance_klines_close_not_null NOT NULL,
    volume numeric CONSTRAINT binance_klines_volume_not_null NOT NULL,
    close_time timestamp with time zone CONSTRAINT binance_klines_close_time_not_null NOT NULL,
    quote_volume numeric CONSTRAINT binance_klines_quote_volume_not_null NOT NULL,
    trade_count bigint CONSTRAINT binance_klines_trade_count_not_null NOT NULL,
    taker_buy_base_volume numeric CONSTRAINT binance_klines_taker_buy_base_volume_not_null NOT NULL,
    taker_buy_quote_volume numeric CONSTRAINT binance_klines_taker_buy_quote_volume_not_null NOT NULL,
    loaded_at timestamp with time zone DEFAULT clock_timestamp() CONSTRAINT binance_klines_loaded_at_not_null NOT NULL,
    batch_id text CONSTRAINT binance_klines_batch_id_not_null NOT NULL
);


ALTER TABLE raw.binance_klines_15m OWNER TO ingest;

--
-- Name: binance_klines_1d; Type: TABLE; Schema: raw; Owner: ingest
--

CREATE TABLE raw.binance_klines_1d (
    symbol text CONSTRAINT binance_klines_symbol_not_null NOT NULL,
    "interval" text CONSTRAINT binance_klines_interval_not_null NOT NULL,
    open_time timestamp with time zone CONSTRAINT binance_klines_open_time_not_null NOT NULL,
    open numeric CONSTRAINT binance_klines_open_not_null NOT NULL,
    high numeric CONSTRAINT binance_klines_high_not_null NOT NULL,
    low numeric CONSTRAINT binance_klines_low_not_null NOT NULL,
    close numeric CONSTRAINT binance_klines_close_not_null NOT NULL,
    volume numeric CONSTRAINT binance_klines_volume_not_null NOT NULL,
    close_time timestamp with time zone CONSTRAINT binance_klines_close_time_not_null NOT NULL,
    quote_volume numeric CONSTRAINT binance_klines_quote_volume_not_null NOT NULL,
    trade_count bigint CONSTRAINT binance_klines_trade_count_not_null NOT NULL,
    taker_buy_base_volume numeric CONSTRAINT binance_klines_taker_buy_base_volume_not_null NOT NULL,
    taker_buy_quote_volume numeric CONSTRAINT binance_klines_taker_buy_quote_volume_not_null NOT NULL,
    loaded_at timestamp with time zone DEFAULT clock_timestamp() CONSTRAINT binance_klines_loaded_at_not_null NOT NULL,
    batch_id text CONSTRAINT binance_klines_batch_id_not_null NOT NULL
);


ALTER TABLE raw.binance_klines_1d OWNER TO ingest;

--
-- Name: binance_klines_1h; Type: TABLE; Schema: raw; Owner: ingest
--

CREATE TABLE raw.binance_klines_1h (
    symbol text CONSTRAINT binance_klines_symbol_not_null NOT NULL,
    "interval" text CONSTRAINT binance_klines_interval_not_null NOT NULL,
    open_time timestamp with time zone CONSTRAINT binance_klines_open_time_not_null NOT NULL,
    open numeric CONSTRAINT binance_klines_open_not_null NOT NULL,
    high numeric CONSTRAINT binance_klines_high_not_null NOT NULL,
    low numeric CONSTRAINT binance_klines_low_not_null NOT NULL,
    close numeric CONSTRAINT binance_klines_close_not_null NOT NULL,
    volume numeric CONSTRAINT binance_klines_volume_not_null NOT NULL,
    close_time timestamp with time zone CONSTRAINT binance_klines_close_time_not_null NOT NULL,
    quote_volume numeric CONSTRAINT binance_klines_quote_volume_not_null NOT NULL,
    trade_count bigint CONSTRAINT binance_klines_trade_count_not_null NOT NULL,
    taker_buy_base_volume numeric CONSTRAINT binance_klines_taker_buy_base_volume_not_null NOT NULL,
    taker_buy_quote_volume numeric CONSTRAINT binance_klines_taker_buy_quote_volume_not_null NOT NULL,
    loaded_at timestamp with time zone DEFAULT clock_timestamp() CONSTRAINT binance_klines_loaded_at_not_null NOT NULL,
    batch_id text CONSTRAINT binance_klines_batch_id_not_null NOT NULL
);


ALTER TABLE raw.binance_klines_1h OWNER TO ingest;

--
-- Name: binance_klines_1m; Type: TABLE; Schema: raw; Owner: ingest
--

CREATE TABLE raw.binance_klines_1m (
    symbol text CONSTRAINT binance_klines_symbol_not_null NOT NULL,
    "interval" text CONSTRAINT binance_klines_interval_not_null NOT NULL,
    open_time timestamp with time zone CONSTRAINT binance_klines_open_time_not_null NOT NULL,
    open numeric CONSTRAINT binance_klines_open_not_null NOT NULL,
    high numeric CONSTRAINT binance_klines_high_not_null NOT NULL,
    low numeric CONSTRAINT binance_klines_low_not_null NOT NULL,
    close numeric CONSTRAINT binance_klines_close_not_null NOT NULL,
    volume numeric CONSTRAINT binance_klines_volume_not_null NOT NULL,
    close_time timestamp with time zone CONSTRAINT binance_klines_close_time_not_null NOT NULL,
    quote_volume numeric CONSTRAINT binance_klines_quote_volume_not_null NOT NULL,
    trade_count bigint CONSTRAINT binance_klines_trade_count_not_null NOT NULL,
    taker_buy_base_volume numeric CONSTRAINT binance_klines_taker_buy_base_volume_not_null NOT NULL,
    taker_buy_quote_volume numeric CONSTRAINT binance_klines_taker_buy_quote_volume_not_null NOT NULL,
    loaded_at timestamp with time zone DEFAULT clock_timestamp() CONSTRAINT binance_klines_loaded_at_not_null NOT NULL,
    batch_id text CONSTRAINT binance_klines_batch_id_not_null NOT NULL
);


ALTER TABLE raw.binance_klines_1m OWNER TO ingest;

--
-- Name: binance_klines_4h; Type: TABLE; Schema: raw; Owner: ingest
--

CREATE TABLE raw.binance_klines_4h (
    symbol text CONSTRAINT binance_klines_symbol_not_null NOT NULL,
    "interval" text CONSTRAINT binance_klines_interval_not_null NOT NULL,
    open_time timestamp with time zone CONSTRAINT binance_klines_open_time_not_null NOT NULL,
    open numeric CONSTRAINT binance_klines_open_not_null NOT NULL,
    high numeric CONSTRAINT binance_klines_high_not_null NOT NULL,
    low numeric CONSTRAINT binance_klines_low_not_null NOT NULL,
    close numeric CONSTRAINT binance_klines_close_not_null NOT NULL,
    volume numeric CONSTRAINT binance_klines_volume_not_null NOT NULL,
    close_time timestamp with time zone CONSTRAINT binance_klines_close_time_not_null NOT NULL,
    quote_volume numeric CONSTRAINT binance_klines_quote_volume_not_null NOT NULL,
    trade_count bigint CONSTRAINT binance_klines_trade_count_not_null NOT NULL,
    taker_buy_base_volume numeric CONSTRAINT binance_klines_taker_buy_base_volume_not_null NOT NULL,
    taker_buy_quote_volume numeric CONSTRAINT binance_klines_taker_buy_quote_volume_not_null NOT NULL,
    loaded_at timestamp with time zone DEFAULT clock_timestamp() CONSTRAINT binance_klines_loaded_at_not_null NOT NULL,
    batch_id text CONSTRAINT binance_klines_batch_id_not_null NOT NULL
);


ALTER TABLE raw.binance_klines_4h OWNER TO ingest;

--
-- Name: binance_klines_5m; Type: TABLE; Schema: raw; Owner: ingest
--

CREATE TABLE raw.binance_klines_5m (
    symbol text CONSTRAINT binance_klines_symbol_not_null NOT NULL,
    "interval" text CONSTRAINT binance_klines_interval_not_null NOT NULL,
    open_time timestamp with time zone CONSTRAINT binance_klines_open_time_not_null NOT NULL,
    open numeric CONSTRAINT binance_klines_open_not_null NOT NULL,
    high numeric CONSTRAINT binance_klines_high_not_null NOT NULL,
    low numeric CONSTRAINT binance_klines_low_not_null NOT NULL,
    close numeric CONSTRAINT binance_klines_close_not_null NOT NULL,
    volume numeric CONSTRAINT binance_klines_volume_not_null NOT NULL,
    close_time timestamp with time zone CONSTRAINT binance_klines_close_time_not_null NOT NULL,
    quote_volume numeric CONSTRAINT binance_klines_quote_volume_not_null NOT NULL,
    trade_count bigint CONSTRAINT binance_klines_trade_count_not_null NOT NULL,
    taker_buy_base_volume numeric CONSTRAINT binance_klines_taker_buy_base_volume_not_null NOT NULL,
    taker_buy_quote_volume numeric CONSTRAINT binance_klines_taker_buy_quote_volume_not_null NOT NULL,
    loaded_at timestamp with time zone DEFAULT clock_timestamp() CONSTRAINT binance_klines_loaded_at_not_null NOT NULL,
    batch_id text CONSTRAINT binance_klines_batch_id_not_null NOT NULL
);


ALTER TABLE raw.binance_klines_5m OWNER TO ingest;

--
-- Name: coingecko_markets; Type: TABLE; Schema: raw; Owner: ingest
--

CREATE TABLE raw.coingecko_markets (
    crypto_id text NOT NULL,
    snapshot_at timestamp with time zone NOT NULL,
    symbol text NOT NULL,
    name text NOT NULL,
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
    ath_date timestamp with time zone,
    atl_date timestamp with time zone,
    last_updated timestamp with time zone,
    payload jsonb NOT NULL,
    loaded_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    batch_id text NOT NULL
);


ALTER TABLE raw.coingecko_markets OWNER TO ingest;

--
-- Name: fear_greed; Type: TABLE; Schema: raw; Owner: ingest
--

CREATE TABLE raw.fear_greed (
    date date NOT NULL,
    value integer NOT NULL,
    classification text NOT NULL,
    loaded_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    batch_id text NOT NULL
);


ALTER TABLE raw.fear_greed OWNER TO ingest;

--
-- Name: universe; Type: TABLE; Schema: raw; Owner: ingest
--

CREATE TABLE raw.universe (
    crypto_id text NOT NULL,
    binance_symbol text NOT NULL,
    name text NOT NULL,
    category text NOT NULL,
    valid_from date,
    valid_to date,
    loaded_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    batch_id text NOT NULL
);


ALTER TABLE raw.universe OWNER TO ingest;

--
-- Name: binance_klines_15m; Type: TABLE ATTACH; Schema: raw; Owner: ingest
--

ALTER TABLE ONLY raw.binance_klines ATTACH PARTITION raw.binance_klines_15m FOR VALUES IN ('15m');


--
-- Name: binance_klines_1d; Type: TABLE ATTACH; Schema: raw; Owner: ingest
--

ALTER TABLE ONLY raw.binance_klines ATTACH PARTITION raw.binance_klines_1d FOR VALUES IN ('1d');


--
-- Name: binance_klines_1h; Type: TABLE ATTACH; Schema: raw; Owner: ingest
--

ALTER TABLE ONLY raw.binance_klines ATTACH PARTITION raw.binance_klines_1h FOR VALUES IN ('1h');


--
-- Name: binance_klines_1m; Type: TABLE ATTACH; Schema: raw; Owner: ingest
--

ALTER TABLE ONLY raw.binance_klines ATTACH PARTITION raw.binance_klines_1m FOR VALUES IN ('1m');


--
-- Name: binance_klines_4h; Type: TABLE ATTACH; Schema: raw; Owner: ingest
--

ALTER TABLE ONLY raw.binance_klines ATTACH PARTITION raw.binance_klines_4h FOR VALUES IN ('4h');


--
-- Name: binance_klines_5m; Type: TABLE ATTACH; Schema: raw; Owner: ingest
--

ALTER TABLE ONLY raw.binance_klines ATTACH PARTITION raw.binance_klines_5m FOR VALUES IN ('5m');


--
-- Data for Name: alerts; Type: TABLE DATA; Schema: ops; Owner: ingest
--

COPY ops.alerts (alert_id, incident_id, channel, event, dedup_key, message, created_at, due_at, attempts, sent_at, refused_at, last_error) FROM stdin;
1	1	slack	opened	1 opened	{"title": "stale"}	2026-11-01 10:06:00+00	2026-11-01 10:06:00+00	0	\N	\N	\N
\.


--
-- Data for Name: api_budget; Type: TABLE DATA; Schema: ops; Owner: ingest
--

COPY ops.api_budget (host, minute, used, weight_limit, banned_until, month, month_used, resting_until) FROM stdin;
data-api.binance.vision	2026-11-01 10:04:00+00	12	6000	\N	2026-11-01	12	\N
\.


--
-- Data for Name: archive_files; Type: TABLE DATA; Schema: ops; Owner: ingest
--

COPY ops.archive_files (url, sha256, rows, loaded_at) FROM stdin;
/data/spot/monthly/klines/BTCUSDT/1h/BTCUSDT-1h-2026-09.zip	1212121212121212121212121212121212121212121212121212121212121212	720	2026-11-01 10:05:00+00
\.


--
-- Data for Name: backfills; Type: TABLE DATA; Schema: ops; Owner: ingest
--

COPY ops.backfills (backfill_id, dataset, source, start_date, end_date, started_at, finished_at) FROM stdin;
1	binance_klines	rest	2026-10-30	2026-10-31	2026-11-01 10:04:00+00	\N
\.


--
-- Data for Name: check_results; Type: TABLE DATA; Schema: ops; Owner: ingest
--

COPY ops.check_results (check_id, run_id, asset, check_name, source, severity, status, blocking, observed, expected, failed_rows, sample, checked_at) FROM stdin;
1	run-1	raw/fear_greed	fresh	great_expectations	error	passed	t	1 h	26 h	0	[]	2026-11-01 10:06:00+00
\.


--
-- Data for Name: coverage; Type: TABLE DATA; Schema: ops; Owner: ingest
--

COPY ops.coverage (dataset, symbol, "interval", date, bars, is_final, source, checked_at, closed_until) FROM stdin;
binance_klines	BTCUSDT	1h	2026-10-30	24	t	rest	2026-11-01 10:05:00+00	2026-11-01 10:00:00+00
\.


--
-- Data for Name: gaps; Type: TABLE DATA; Schema: ops; Owner: ingest
--

COPY ops.gaps (symbol, "interval", gap_start, gap_end, bars, kind, asked_again_at, found_at) FROM stdin;
ETHUSDT	1h	2026-10-30 03:00:00+00	2026-10-30 05:00:00+00	2	exchange_halt	\N	2026-11-01 10:05:00+00
\.


--
-- Data for Name: heartbeats; Type: TABLE DATA; Schema: ops; Owner: ingest
--

COPY ops.heartbeats (name, beat_at, last_error) FROM stdin;
daemon	2026-11-01 10:07:00+00	\N
\.


--
-- Data for Name: incidents; Type: TABLE DATA; Schema: ops; Owner: ingest
--

COPY ops.incidents (incident_id, fingerprint, kind, severity, title, detail, run_id, opened_at, last_bad_at, recovered_at, reopened) FROM stdin;
1	stale_dataset fear_greed	stale_dataset	warn	stale	old	run-1	2026-11-01 10:06:00+00	2026-11-01 10:06:00+00	\N	0
\.


--
-- Data for Name: load_ledger; Type: TABLE DATA; Schema: ops; Owner: ingest
--

COPY ops.load_ledger (object_key, dataset, sha256, etag, rows, inserted, updated, unchanged, batch_id, loaded_at) FROM stdin;
binance/klines/interval=1h/date=2026-10-30/bars.parquet	binance_klines	abababababababababababababababababababababababababababababababab	cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd	6	6	0	0	batch-1	2026-11-01 10:05:00+00
\.


--
-- Data for Name: migrations; Type: TABLE DATA; Schema: ops; Owner: ingest
--

COPY ops.migrations (number, name, checksum, applied_at) FROM stdin;
1	raw_and_ops	64778eff37310e49ca368627887d9dc24d3a77e40c2e8f2a70e65bca3836e348	2026-11-21 12:00:00+00
\.


--
-- Data for Name: rejected_records; Type: TABLE DATA; Schema: ops; Owner: ingest
--

COPY ops.rejected_records (rejected_id, dataset, object_key, record_sha256, record, reason, batch_id, rejected_at, replayed_at) FROM stdin;
1	binance_klines	_rejected/binance_klines/date=2026-10-30/x.parquet	efefefefefefefefefefefefefefefefefefefefefefefefefefefefefefefef	["1"]	low is above high	batch-1	2026-11-01 10:05:00+00	\N
\.


--
-- Data for Name: restatements; Type: TABLE DATA; Schema: ops; Owner: ingest
--

COPY ops.restatements (restatement_id, dataset, record_key, old_record, new_record, batch_id, restated_at) FROM stdin;
1	fear_greed	{"date": "2026-10-31"}	{"value": 43}	{"value": 44}	batch-1	2026-11-01 10:05:00+00
\.


--
-- Data for Name: run_stages; Type: TABLE DATA; Schema: ops; Owner: ingest
--

COPY ops.run_stages (run_id, stage, dataset, status, rows, files, seconds, detail, ended_at) FROM stdin;
run-1	bronze	binance_klines	ok	6	1	0.25	{}	2026-11-01 10:05:00+00
\.


--
-- Data for Name: runs; Type: TABLE DATA; Schema: ops; Owner: ingest
--

COPY ops.runs (run_id, job, started_at, ended_at, status, summary) FROM stdin;
run-1	refresh	2026-11-01 10:04:00+00	2026-11-01 10:07:00+00	ok	{"status": "ok"}
\.


--
-- Data for Name: source_fields; Type: TABLE DATA; Schema: ops; Owner: ingest
--

COPY ops.source_fields (dataset, field, example, batch_id, first_seen_at) FROM stdin;
coingecko_markets	new_field	1	batch-1	2026-11-01 10:05:00+00
\.


--
-- Data for Name: source_requests; Type: TABLE DATA; Schema: ops; Owner: ingest
--

COPY ops.source_requests (request_id, source, endpoint, host, requested_at, http_status, error, latency_ms, bytes, attempt, weight, run_id) FROM stdin;
1	Binance	/api/v3/klines	data-api.binance.vision	2026-11-01 10:04:30+00	200	\N	81.37	4711	1	2	run-1
\.


--
-- Data for Name: symbol_status; Type: TABLE DATA; Schema: ops; Owner: ingest
--

COPY ops.symbol_status (symbol, status, detail, listed_at, last_bar_at, checked_at) FROM stdin;
BTCUSDT	TRADING	\N	2017-08-17 00:00:00+00	2026-11-01 09:00:00+00	2026-11-01 10:05:00+00
\.


--
-- Data for Name: versions; Type: TABLE DATA; Schema: ops; Owner: ingest
--

COPY ops.versions (name, version, set_at) FROM stdin;
dbt_project	abc	2026-11-01 10:06:00+00
\.


--
-- Data for Name: binance_klines_15m; Type: TABLE DATA; Schema: raw; Owner: ingest
--

COPY raw.binance_klines_15m (symbol, "interval", open_time, open, high, low, close, volume, close_time, quote_volume, trade_count, taker_buy_base_volume, taker_buy_quote_volume, loaded_at, batch_id) FROM stdin;
\.


--
-- Data for Name: binance_klines_1d; Type: TABLE DATA; Schema: raw; Owner: ingest
--

COPY raw.binance_klines_1d (symbol, "interval", open_time, open, high, low, close, volume, close_time, quote_volume, trade_count, taker_buy_base_volume, taker_buy_quote_volume, loaded_at, batch_id) FROM stdin;
BTCUSDT	1d	2026-10-30 00:00:00+00	100.00000001	101.5	99.25	100.75	12.34567890	2026-10-30 23:59:59.999+00	1243.1	17	6.1	614.2	2026-11-01 10:05:00.123456+00	batch-1
BTCUSDT	1d	2026-10-31 00:00:00+00	100.00000001	101.5	99.25	100.75	12.34567890	2026-10-31 23:59:59.999+00	1243.1	17	6.1	614.2	2026-11-01 10:05:00.123456+00	batch-1
BTCUSDT	1d	2026-11-01 00:00:00+00	100.00000001	101.5	99.25	100.75	12.34567890	2026-11-01 23:59:59.999+00	1243.1	17	6.1	614.2	2026-11-01 10:05:00.123456+00	batch-1
ETHUSDT	1d	2026-10-30 00:00:00+00	100.00000001	101.5	99.25	100.75	12.34567890	2026-10-30 23:59:59.999+00	1243.1	17	6.1	614.2	2026-11-01 10:05:00.123456+00	batch-1
ETHUSDT	1d	2026-10-31 00:00:00+00	100.00000001	101.5	99.25	100.75	12.34567890	2026-10-31 23:59:59.999+00	1243.1	17	6.1	614.2	2026-11-01 10:05:00.123456+00	batch-1
ETHUSDT	1d	2026-11-01 00:00:00+00	100.00000001	101.5	99.25	100.75	12.34567890	2026-11-01 23:59:59.999+00	1243.1	17	6.1	614.2	2026-11-01 10:05:00.123456+00	batch-1
\.


--
-- Data for Name: binance_klines_1h; Type: TABLE DATA; Schema: raw; Owner: ingest
--

COPY raw.binance_klines_1h (symbol, "interval", open_time, open, high, low, close, volume, close_time, quote_volume, trade_count, taker_buy_base_volume, taker_buy_quote_volume, loaded_at, batch_id) FROM stdin;
BTCUSDT	1h	2026-10-30 00:00:00+00	100.00000001	101.5	99.25	100.75	12.34567890	2026-10-30 00:59:59.999+00	1243.1	17	6.1	614.2	2026-11-01 10:05:00.123456+00	batch-1
BTCUSDT	1h	2026-10-30 01:00:00+00	100.00000001	101.5	99.25	100.75	12.34567890	2026-10-30 01:59:59.999+00	1243.1	17	6.1	614.2	2026-11-01 10:05:00.123456+00	batch-1
BTCUSDT	1h	2026-10-30 02:00:00+00	100.00000001	101.5	99.25	100.75	12.34567890	2026-10-30 02:59:59.999+00	1243.1	17	6.1	614.2	2026-11-01 10:05:00.123456+00	batch-1
ETHUSDT	1h	2026-10-30 00:00:00+00	100.00000001	101.5	99.25	100.75	12.34567890	2026-10-30 00:59:59.999+00	1243.1	17	6.1	614.2	2026-11-01 10:05:00.123456+00	batch-1
ETHUSDT	1h	2026-10-30 01:00:00+00	100.00000001	101.5	99.25	100.75	12.34567890	2026-10-30 01:59:59.999+00	1243.1	17	6.1	614.2	2026-11-01 10:05:00.123456+00	batch-1
ETHUSDT	1h	2026-10-30 02:00:00+00	100.00000001	101.5	99.25	100.75	12.34567890	2026-10-30 02:59:59.999+00	1243.1	17	6.1	614.2	2026-11-01 10:05:00.123456+00	batch-1
\.


--
-- Data for Name: binance_klines_1m; Type: TABLE DATA; Schema: raw; Owner: ingest
--

COPY raw.binance_klines_1m (symbol, "interval", open_time, open, high, low, close, volume, close_time, quote_volume, trade_count, taker_buy_base_volume, taker_buy_quote_volume, loaded_at, batch_id) FROM stdin;
BTCUSDT	1m	2026-10-30 00:00:00+00	100.00000001	101.5	99.25	100.75	12.34567890	2026-10-30 00:00:59.999+00	1243.1	17	6.1	614.2	2026-11-01 10:05:00.123456+00	batch-1
BTCUSDT	1m	2026-10-30 00:01:00+00	100.00000001	101.5	99.25	100.75	12.34567890	2026-10-30 00:01:59.999+00	1243.1	17	6.1	614.2	2026-11-01 10:05:00.123456+00	batch-1
BTCUSDT	1m	2026-10-30 00:02:00+00	100.00000001	101.5	99.25	100.75	12.34567890	2026-10-30 00:02:59.999+00	1243.1	17	6.1	614.2	2026-11-01 10:05:00.123456+00	batch-1
ETHUSDT	1m	2026-10-30 00:00:00+00	100.00000001	101.5	99.25	100.75	12.34567890	2026-10-30 00:00:59.999+00	1243.1	17	6.1	614.2	2026-11-01 10:05:00.123456+00	batch-1
ETHUSDT	1m	2026-10-30 00:01:00+00	100.00000001	101.5	99.25	100.75	12.34567890	2026-10-30 00:01:59.999+00	1243.1	17	6.1	614.2	2026-11-01 10:05:00.123456+00	batch-1
ETHUSDT	1m	2026-10-30 00:02:00+00	100.00000001	101.5	99.25	100.75	12.34567890	2026-10-30 00:02:59.999+00	1243.1	17	6.1	614.2	2026-11-01 10:05:00.123456+00	batch-1
\.


--
-- Data for Name: binance_klines_4h; Type: TABLE DATA; Schema: raw; Owner: ingest
--

COPY raw.binance_klines_4h (symbol, "interval", open_time, open, high, low, close, volume, close_time, quote_volume, trade_count, taker_buy_base_volume, taker_buy_quote_volume, loaded_at, batch_id) FROM stdin;
\.


--
-- Data for Name: binance_klines_5m; Type: TABLE DATA; Schema: raw; Owner: ingest
--

COPY raw.binance_klines_5m (symbol, "interval", open_time, open, high, low, close, volume, close_time, quote_volume, trade_count, taker_buy_base_volume, taker_buy_quote_volume, loaded_at, batch_id) FROM stdin;
\.


--
-- Data for Name: coingecko_markets; Type: TABLE DATA; Schema: raw; Owner: ingest
--

COPY raw.coingecko_markets (crypto_id, snapshot_at, symbol, name, image, market_cap_rank, current_price, market_cap, fully_diluted_valuation, total_volume, high_24h, low_24h, price_change_24h, price_change_percentage_24h, market_cap_change_24h, market_cap_change_percentage_24h, circulating_supply, total_supply, max_supply, ath, ath_change_percentage, atl, atl_change_percentage, price_change_percentage_1h_in_currency, price_change_percentage_24h_in_currency, price_change_percentage_7d_in_currency, ath_date, atl_date, last_updated, payload, loaded_at, batch_id) FROM stdin;
bitcoin	2026-11-01 10:00:00+00	btc	Bitcoin	\N	1	67890.12	\N	\N	\N	\N	\N	\N	\N	\N	\N	\N	\N	\N	\N	\N	\N	\N	\N	\N	\N	\N	\N	\N	{"id": "bitcoin", "roi": null, "current_price": 67890.12}	2026-11-01 10:05:00+00	batch-1
ethereum	2026-11-01 10:00:00+00	eth	Ethereum "ETH" \\ü	\N	\N	\N	\N	\N	\N	\N	\N	\N	\N	\N	\N	\N	\N	\N	\N	\N	\N	\N	\N	\N	\N	\N	\N	\N	{"id": "ethereum"}	2026-11-01 10:05:00+00	batch-1
\.


--
-- Data for Name: fear_greed; Type: TABLE DATA; Schema: raw; Owner: ingest
--

COPY raw.fear_greed (date, value, classification, loaded_at, batch_id) FROM stdin;
2026-10-31	44	Fear	2026-11-01 10:05:00+00	batch-1
2026-11-01	51	Neutral	2026-11-01 10:05:00+00	batch-1
\.


--
-- Data for Name: universe; Type: TABLE DATA; Schema: raw; Owner: ingest
--

COPY raw.universe (crypto_id, binance_symbol, name, category, valid_from, valid_to, loaded_at, batch_id) FROM stdin;
bitcoin	BTCUSDT	Bitcoin	store of value	\N	\N	2026-11-01 10:05:00+00	batch-1
ethereum	ETHUSDT	Ethereum	platform	2017-08-17	2030-01-01	2026-11-01 10:05:00+00	batch-1
\.


--
-- Name: alerts_alert_id_seq; Type: SEQUENCE SET; Schema: ops; Owner: ingest
--

SELECT pg_catalog.setval('ops.alerts_alert_id_seq', 1, true);


--
-- Name: backfills_backfill_id_seq; Type: SEQUENCE SET; Schema: ops; Owner: ingest
--

SELECT pg_catalog.setval('ops.backfills_backfill_id_seq', 1, true);


--
-- Name: check_results_check_id_seq; Type: SEQUENCE SET; Schema: ops; Owner: ingest
--

SELECT pg_catalog.setval('ops.check_results_check_id_seq', 1, true);


--
-- Name: incidents_incident_id_seq; Type: SEQUENCE SET; Schema: ops; Owner: ingest
--

SELECT pg_catalog.setval('ops.incidents_incident_id_seq', 1, true);


--
-- Name: rejected_records_rejected_id_seq; Type: SEQUENCE SET; Schema: ops; Owner: ingest
--

SELECT pg_catalog.setval('ops.rejected_records_rejected_id_seq', 1, true);


--
-- Name: restatements_restatement_id_seq; Type: SEQUENCE SET; Schema: ops; Owner: ingest
--

SELECT pg_catalog.setval('ops.restatements_restatement_id_seq', 1, true);


--
-- Name: source_requests_request_id_seq; Type: SEQUENCE SET; Schema: ops; Owner: ingest
--

SELECT pg_catalog.setval('ops.source_requests_request_id_seq', 1, true);


--
-- Name: alerts alerts_channel_dedup_key_key; Type: CONSTRAINT; Schema: ops; Owner: ingest
--

ALTER TABLE ONLY ops.alerts
    ADD CONSTRAINT alerts_channel_dedup_key_key UNIQUE (channel, dedup_key);


--
-- Name: alerts alerts_pkey; Type: CONSTRAINT; Schema: ops; Owner: ingest
--

ALTER TABLE ONLY ops.alerts
    ADD CONSTRAINT alerts_pkey PRIMARY KEY (alert_id);


--
-- Name: api_budget api_budget_pkey; Type: CONSTRAINT; Schema: ops; Owner: ingest
--

ALTER TABLE ONLY ops.api_budget
    ADD CONSTRAINT api_budget_pkey PRIMARY KEY (host);


--
-- Name: archive_files archive_files_pkey; Type: CONSTRAINT; Schema: ops; Owner: ingest
--

ALTER TABLE ONLY ops.archive_files
    ADD CONSTRAINT archive_files_pkey PRIMARY KEY (url);


--
-- Name: backfills backfills_pkey; Type: CONSTRAINT; Schema: ops; Owner: ingest
--

ALTER TABLE ONLY ops.backfills
    ADD CONSTRAINT backfills_pkey PRIMARY KEY (backfill_id);


--
-- Name: check_results check_results_pkey; Type: CONSTRAINT; Schema: ops; Owner: ingest
--

ALTER TABLE ONLY ops.check_results
    ADD CONSTRAINT check_results_pkey PRIMARY KEY (check_id);


--
-- Name: coverage coverage_pkey; Type: CONSTRAINT; Schema: ops; Owner: ingest
--

ALTER TABLE ONLY ops.coverage
    ADD CONSTRAINT coverage_pkey PRIMARY KEY (dataset, symbol, "interval", date);


--
-- Name: gaps gaps_pkey; Type: CONSTRAINT; Schema: ops; Owner: ingest
--

ALTER TABLE ONLY ops.gaps
    ADD CONSTRAINT gaps_pkey PRIMARY KEY (symbol, "interval", gap_start);


--
-- Name: heartbeats heartbeats_pkey; Type: CONSTRAINT; Schema: ops; Owner: ingest
--

ALTER TABLE ONLY ops.heartbeats
    ADD CONSTRAINT heartbeats_pkey PRIMARY KEY (name);


--
-- Name: incidents incidents_pkey; Type: CONSTRAINT; Schema: ops; Owner: ingest
--

ALTER TABLE ONLY ops.incidents
    ADD CONSTRAINT incidents_pkey PRIMARY KEY (incident_id);


--
-- Name: load_ledger load_ledger_pkey; Type: CONSTRAINT; Schema: ops; Owner: ingest
--

ALTER TABLE ONLY ops.load_ledger
    ADD CONSTRAINT load_ledger_pkey PRIMARY KEY (object_key);


--
-- Name: migrations migrations_pkey; Type: CONSTRAINT; Schema: ops; Owner: ingest
--

ALTER TABLE ONLY ops.migrations
    ADD CONSTRAINT migrations_pkey PRIMARY KEY (number);


--
-- Name: rejected_records rejected_records_dataset_record_sha256_reason_key; Type: CONSTRAINT; Schema: ops; Owner: ingest
--

ALTER TABLE ONLY ops.rejected_records
    ADD CONSTRAINT rejected_records_dataset_record_sha256_reason_key UNIQUE (dataset, record_sha256, reason);


--
-- Name: rejected_records rejected_records_pkey; Type: CONSTRAINT; Schema: ops; Owner: ingest
--

ALTER TABLE ONLY ops.rejected_records
    ADD CONSTRAINT rejected_records_pkey PRIMARY KEY (rejected_id);


--
-- Name: restatements restatements_pkey; Type: CONSTRAINT; Schema: ops; Owner: ingest
--

ALTER TABLE ONLY ops.restatements
    ADD CONSTRAINT restatements_pkey PRIMARY KEY (restatement_id);


--
-- Name: run_stages run_stages_pkey; Type: CONSTRAINT; Schema: ops; Owner: ingest
--

ALTER TABLE ONLY ops.run_stages
    ADD CONSTRAINT run_stages_pkey PRIMARY KEY (run_id, stage, dataset);


--
-- Name: runs runs_pkey; Type: CONSTRAINT; Schema: ops; Owner: ingest
--

ALTER TABLE ONLY ops.runs
    ADD CONSTRAINT runs_pkey PRIMARY KEY (run_id);


--
-- Name: source_fields source_fields_pkey; Type: CONSTRAINT; Schema: ops; Owner: ingest
--

ALTER TABLE ONLY ops.source_fields
    ADD CONSTRAINT source_fields_pkey PRIMARY KEY (dataset, field);


--
-- Name: source_requests source_requests_pkey; Type: CONSTRAINT; Schema: ops; Owner: ingest
--

ALTER TABLE ONLY ops.source_requests
    ADD CONSTRAINT source_requests_pkey PRIMARY KEY (request_id);


--
-- Name: symbol_status symbol_status_pkey; Type: CONSTRAINT; Schema: ops; Owner: ingest
--

ALTER TABLE ONLY ops.symbol_status
    ADD CONSTRAINT symbol_status_pkey PRIMARY KEY (symbol);


--
-- Name: versions versions_pkey; Type: CONSTRAINT; Schema: ops; Owner: ingest
--

ALTER TABLE ONLY ops.versions
    ADD CONSTRAINT versions_pkey PRIMARY KEY (name);


--
-- Name: binance_klines binance_klines_pkey; Type: CONSTRAINT; Schema: raw; Owner: ingest
--

ALTER TABLE ONLY raw.binance_klines
    ADD CONSTRAINT binance_klines_pkey PRIMARY KEY (symbol, "interval", open_time);


--
-- Name: binance_klines_15m binance_klines_15m_pkey; Type: CONSTRAINT; Schema: raw; Owner: ingest
--

ALTER TABLE ONLY raw.binance_klines_15m
    ADD CONSTRAINT binance_klines_15m_pkey PRIMARY KEY (symbol, "interval", open_time);


--
-- Name: binance_klines_1d binance_klines_1d_pkey; Type: CONSTRAINT; Schema: raw; Owner: ingest
--

ALTER TABLE ONLY raw.binance_klines_1d
    ADD CONSTRAINT binance_klines_1d_pkey PRIMARY KEY (symbol, "interval", open_time);


--
-- Name: binance_klines_1h binance_klines_1h_pkey; Type: CONSTRAINT; Schema: raw; Owner: ingest
--

ALTER TABLE ONLY raw.binance_klines_1h
    ADD CONSTRAINT binance_klines_1h_pkey PRIMARY KEY (symbol, "interval", open_time);


--
-- Name: binance_klines_1m binance_klines_1m_pkey; Type: CONSTRAINT; Schema: raw; Owner: ingest
--

ALTER TABLE ONLY raw.binance_klines_1m
    ADD CONSTRAINT binance_klines_1m_pkey PRIMARY KEY (symbol, "interval", open_time);


--
-- Name: binance_klines_4h binance_klines_4h_pkey; Type: CONSTRAINT; Schema: raw; Owner: ingest
--

ALTER TABLE ONLY raw.binance_klines_4h
    ADD CONSTRAINT binance_klines_4h_pkey PRIMARY KEY (symbol, "interval", open_time);


--
-- Name: binance_klines_5m binance_klines_5m_pkey; Type: CONSTRAINT; Schema: raw; Owner: ingest
--

ALTER TABLE ONLY raw.binance_klines_5m
    ADD CONSTRAINT binance_klines_5m_pkey PRIMARY KEY (symbol, "interval", open_time);


--
-- Name: coingecko_markets coingecko_markets_pkey; Type: CONSTRAINT; Schema: raw; Owner: ingest
--

ALTER TABLE ONLY raw.coingecko_markets
    ADD CONSTRAINT coingecko_markets_pkey PRIMARY KEY (crypto_id, snapshot_at);


--
-- Name: fear_greed fear_greed_pkey; Type: CONSTRAINT; Schema: raw; Owner: ingest
--

ALTER TABLE ONLY raw.fear_greed
    ADD CONSTRAINT fear_greed_pkey PRIMARY KEY (date);


--
-- Name: universe universe_pkey; Type: CONSTRAINT; Schema: raw; Owner: ingest
--

ALTER TABLE ONLY raw.universe
    ADD CONSTRAINT universe_pkey PRIMARY KEY (crypto_id, binance_symbol);


--
-- Name: alerts_pending; Type: INDEX; Schema: ops; Owner: ingest
--

CREATE INDEX alerts_pending ON ops.alerts USING btree (channel, alert_id) WHERE ((sent_at IS NULL) AND (refused_at IS NULL));


--
-- Name: check_results_checked_at; Type: INDEX; Schema: ops; Owner: ingest
--

CREATE INDEX check_results_checked_at ON ops.check_results USING btree (checked_at);


--
-- Name: incidents_fingerprint; Type: INDEX; Schema: ops; Owner: ingest
--

CREATE INDEX incidents_fingerprint ON ops.incidents USING btree (fingerprint, incident_id);


--
-- Name: incidents_one_open; Type: INDEX; Schema: ops; Owner: ingest
--

CREATE UNIQUE INDEX incidents_one_open ON ops.incidents USING btree (fingerprint) WHERE (recovered_at IS NULL);


--
-- Name: source_requests_requested_at; Type: INDEX; Schema: ops; Owner: ingest
--

CREATE INDEX source_requests_requested_at ON ops.source_requests USING btree (requested_at);


--
-- Name: binance_klines_15m_pkey; Type: INDEX ATTACH; Schema: raw; Owner: ingest
--

ALTER INDEX raw.binance_klines_pkey ATTACH PARTITION raw.binance_klines_15m_pkey;


--
-- Name: binance_klines_1d_pkey; Type: INDEX ATTACH; Schema: raw; Owner: ingest
--

ALTER INDEX raw.binance_klines_pkey ATTACH PARTITION raw.binance_klines_1d_pkey;


--
-- Name: binance_klines_1h_pkey; Type: INDEX ATTACH; Schema: raw; Owner: ingest
--

ALTER INDEX raw.binance_klines_pkey ATTACH PARTITION raw.binance_klines_1h_pkey;


--
-- Name: binance_klines_1m_pkey; Type: INDEX ATTACH; Schema: raw; Owner: ingest
--

ALTER INDEX raw.binance_klines_pkey ATTACH PARTITION raw.binance_klines_1m_pkey;


--
-- Name: binance_klines_4h_pkey; Type: INDEX ATTACH; Schema: raw; Owner: ingest
--

ALTER INDEX raw.binance_klines_pkey ATTACH PARTITION raw.binance_klines_4h_pkey;


--
-- Name: binance_klines_5m_pkey; Type: INDEX ATTACH; Schema: raw; Owner: ingest
--

ALTER INDEX raw.binance_klines_pkey ATTACH PARTITION raw.binance_klines_5m_pkey;


--
-- Name: alerts alerts_incident_id_fkey; Type: FK CONSTRAINT; Schema: ops; Owner: ingest
--

ALTER TABLE ONLY ops.alerts
    ADD CONSTRAINT alerts_incident_id_fkey FOREIGN KEY (incident_id) REFERENCES ops.incidents(incident_id) ON DELETE CASCADE;


--
-- Name: SCHEMA ops; Type: ACL; Schema: -; Owner: ingest
--

GRANT USAGE ON SCHEMA ops TO transform;
GRANT USAGE ON SCHEMA ops TO quality_ro;


--
-- Name: SCHEMA raw; Type: ACL; Schema: -; Owner: ingest
--

GRANT USAGE ON SCHEMA raw TO transform;
GRANT USAGE ON SCHEMA raw TO quality_ro;


--
-- Name: TABLE alerts; Type: ACL; Schema: ops; Owner: ingest
--

GRANT SELECT ON TABLE ops.alerts TO transform;
GRANT SELECT ON TABLE ops.alerts TO quality_ro;


--
-- Name: TABLE api_budget; Type: ACL; Schema: ops; Owner: ingest
--

GRANT SELECT ON TABLE ops.api_budget TO transform;
GRANT SELECT ON TABLE ops.api_budget TO quality_ro;


--
-- Name: TABLE archive_files; Type: ACL; Schema: ops; Owner: ingest
--

GRANT SELECT ON TABLE ops.archive_files TO transform;
GRANT SELECT ON TABLE ops.archive_files TO quality_ro;


--
-- Name: TABLE backfills; Type: ACL; Schema: ops; Owner: ingest
--

GRANT SELECT ON TABLE ops.backfills TO transform;
GRANT SELECT ON TABLE ops.backfills TO quality_ro;


--
-- Name: TABLE check_results; Type: ACL; Schema: ops; Owner: ingest
--

GRANT SELECT ON TABLE ops.check_results TO transform;
GRANT SELECT ON TABLE ops.check_results TO quality_ro;


--
-- Name: TABLE coverage; Type: ACL; Schema: ops; Owner: ingest
--

GRANT SELECT ON TABLE ops.coverage TO transform;
GRANT SELECT ON TABLE ops.coverage TO quality_ro;


--
-- Name: TABLE gaps; Type: ACL; Schema: ops; Owner: ingest
--

GRANT SELECT ON TABLE ops.gaps TO transform;
GRANT SELECT ON TABLE ops.gaps TO quality_ro;


--
-- Name: TABLE heartbeats; Type: ACL; Schema: ops; Owner: ingest
--

GRANT SELECT ON TABLE ops.heartbeats TO transform;
GRANT SELECT ON TABLE ops.heartbeats TO quality_ro;


--
-- Name: TABLE incidents; Type: ACL; Schema: ops; Owner: ingest
--

GRANT SELECT ON TABLE ops.incidents TO transform;
GRANT SELECT ON TABLE ops.incidents TO quality_ro;


--
-- Name: TABLE load_ledger; Type: ACL; Schema: ops; Owner: ingest
--

GRANT SELECT ON TABLE ops.load_ledger TO transform;
GRANT SELECT ON TABLE ops.load_ledger TO quality_ro;


--
-- Name: TABLE migrations; Type: ACL; Schema: ops; Owner: ingest
--

GRANT SELECT ON TABLE ops.migrations TO transform;
GRANT SELECT ON TABLE ops.migrations TO quality_ro;


--
-- Name: TABLE rejected_records; Type: ACL; Schema: ops; Owner: ingest
--

GRANT SELECT ON TABLE ops.rejected_records TO transform;
GRANT SELECT ON TABLE ops.rejected_records TO quality_ro;


--
-- Name: TABLE restatements; Type: ACL; Schema: ops; Owner: ingest
--

GRANT SELECT ON TABLE ops.restatements TO transform;
GRANT SELECT ON TABLE ops.restatements TO quality_ro;


--
-- Name: TABLE run_stages; Type: ACL; Schema: ops; Owner: ingest
--

GRANT SELECT ON TABLE ops.run_stages TO transform;
GRANT SELECT ON TABLE ops.run_stages TO quality_ro;


--
-- Name: TABLE runs; Type: ACL; Schema: ops; Owner: ingest
--

GRANT SELECT ON TABLE ops.runs TO transform;
GRANT SELECT ON TABLE ops.runs TO quality_ro;


--
-- Name: TABLE source_fields; Type: ACL; Schema: ops; Owner: ingest
--

GRANT SELECT ON TABLE ops.source_fields TO transform;
GRANT SELECT ON TABLE ops.source_fields TO quality_ro;


--
-- Name: TABLE source_requests; Type: ACL; Schema: ops; Owner: ingest
--

GRANT SELECT ON TABLE ops.source_requests TO transform;
GRANT SELECT ON TABLE ops.source_requests TO quality_ro;


--
-- Name: TABLE symbol_status; Type: ACL; Schema: ops; Owner: ingest
--

GRANT SELECT ON TABLE ops.symbol_status TO transform;
GRANT SELECT ON TABLE ops.symbol_status TO quality_ro;


--
-- Name: TABLE versions; Type: ACL; Schema: ops; Owner: ingest
--

GRANT SELECT ON TABLE ops.versions TO transform;
GRANT SELECT ON TABLE ops.versions TO quality_ro;


--
-- Name: TABLE binance_klines; Type: ACL; Schema: raw; Owner: ingest
--

GRANT SELECT ON TABLE raw.binance_klines TO transform;
GRANT SELECT ON TABLE raw.binance_klines TO quality_ro;


--
-- Name: TABLE binance_klines_15m; Type: ACL; Schema: raw; Owner: ingest
--

GRANT SELECT ON TABLE raw.binance_klines_15m TO transform;
GRANT SELECT ON TABLE raw.binance_klines_15m TO quality_ro;


--
-- Name: TABLE binance_klines_1d; Type: ACL; Schema: raw; Owner: ingest
--

GRANT SELECT ON TABLE raw.binance_klines_1d TO transform;
GRANT SELECT ON TABLE raw.binance_klines_1d TO quality_ro;


--
-- Name: TABLE binance_klines_1h; Type: ACL; Schema: raw; Owner: ingest
--

GRANT SELECT ON TABLE raw.binance_klines_1h TO transform;
GRANT SELECT ON TABLE raw.binance_klines_1h TO quality_ro;


--
-- Name: TABLE binance_klines_1m; Type: ACL; Schema: raw; Owner: ingest
--

GRANT SELECT ON TABLE raw.binance_klines_1m TO transform;
GRANT SELECT ON TABLE raw.binance_klines_1m TO quality_ro;


--
-- Name: TABLE binance_klines_4h; Type: ACL; Schema: raw; Owner: ingest
--

GRANT SELECT ON TABLE raw.binance_klines_4h TO transform;
GRANT SELECT ON TABLE raw.binance_klines_4h TO quality_ro;


--
-- Name: TABLE binance_klines_5m; Type: ACL; Schema: raw; Owner: ingest
--

GRANT SELECT ON TABLE raw.binance_klines_5m TO transform;
GRANT SELECT ON TABLE raw.binance_klines_5m TO quality_ro;


--
-- Name: TABLE coingecko_markets; Type: ACL; Schema: raw; Owner: ingest
--

GRANT SELECT ON TABLE raw.coingecko_markets TO transform;
GRANT SELECT ON TABLE raw.coingecko_markets TO quality_ro;


--
-- Name: TABLE fear_greed; Type: ACL; Schema: raw; Owner: ingest
--

GRANT SELECT ON TABLE raw.fear_greed TO transform;
GRANT SELECT ON TABLE raw.fear_greed TO quality_ro;


--
-- Name: TABLE universe; Type: ACL; Schema: raw; Owner: ingest
--

GRANT SELECT ON TABLE raw.universe TO transform;
GRANT SELECT ON TABLE raw.universe TO quality_ro;


--
-- Name: DEFAULT PRIVILEGES FOR TABLES; Type: DEFAULT ACL; Schema: ops; Owner: ingest
--

ALTER DEFAULT PRIVILEGES FOR ROLE ingest IN SCHEMA ops GRANT SELECT ON TABLES TO transform;
ALTER DEFAULT PRIVILEGES FOR ROLE ingest IN SCHEMA ops GRANT SELECT ON TABLES TO quality_ro;


--
-- Name: DEFAULT PRIVILEGES FOR TABLES; Type: DEFAULT ACL; Schema: raw; Owner: ingest
--

ALTER DEFAULT PRIVILEGES FOR ROLE ingest IN SCHEMA raw GRANT SELECT ON TABLES TO transform;
ALTER DEFAULT PRIVILEGES FOR ROLE ingest IN SCHEMA raw GRANT SELECT ON TABLES TO quality_ro;


--
-- PostgreSQL database dump complete
--


