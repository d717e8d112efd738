"""The declaration of alternative.me's Crypto Fear & Greed index."""

from __future__ import annotations

from ingestion.sources.fear_greed.dataset import FEAR_GREED
from ingestion.sources.fear_greed.ingest import changed_past_values, ingest_fear_greed
from ingestion.sources.rate_limit import Limits
from ingestion.sources.source import Api, LoadCheck, LoadedRun, Observation, Source, probe_of

# alternative.me states no limit; 60 calls a minute have been reported.
CALLS_PER_MINUTE = 30


def _past_values(run: LoadedRun) -> Observation:
    changed = changed_past_values(run.connection, run.run_id)
    return Observation(changed, len(changed))


API = Api(
    name="Fear & Greed",
    setting="FEAR_GREED_BASE_URL",
    limits=lambda _: Limits(CALLS_PER_MINUTE),
    probe=probe_of("/fng/", lambda _: "no key needed"),
)
ALTERNATIVE_ME = Source(
    name="alternative_me",
    dataset=FEAR_GREED,
    apis=(API,),
    fetch=lambda context, request, client: ingest_fear_greed(context, client, request.at.date()),
    description="alternative.me Fear & Greed",
    bronze_description="The complete history of the Crypto Fear & Greed index, written when a value has changed.",
    raw_description="The Fear & Greed index, one row per day.",
    attribution="Crypto Fear & Greed Index: alternative.me",
    load_checks=(
        LoadCheck(
            "past_values_stand",
            "The source has restated no day that was over. Today's value may still change.",
            "no value of a past day changed by the source",
            _past_values,
        ),
    ),
)
