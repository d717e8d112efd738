"""Names of the jobs, and the settings of a refresh, for modules that must load without Dagster."""

JOB = "market_refresh"
REBUILD_JOB = "rebuild"
CHECK_JOB = "quality_checks"
# Market snapshots have no partitions.
MARKETS_JOB = "markets_refresh"
# Daily on-chain series and Bitcoin's transactions have no partitions: they begin before Binance.
ONCHAIN_JOB = "onchain_refresh"
BITCOIN_JOB = "bitcoin_transactions_refresh"
# Headlines have none either: a backfill reads a range of days by its config.
NEWS_JOB = "headlines_refresh"
# Days of history that the first refresh of an empty warehouse loads.
FIRST_LOAD_DAYS = 30
# Commands that start the processes of dbt and of the suites before they need them. Not those that load years of bars:
# what waits takes 300 MB.
SHORT_RUNS = ("run", "up", "demo", "check")
