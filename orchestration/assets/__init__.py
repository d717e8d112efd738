"""The Dagster assets: bronze, raw and dbt models."""

import warnings

import dagster as dg

# Dagster 1.13 warns of BackfillPolicy and partitioned checks (beta) at each definition, on stderr; tests pin how both
# behave. Set here because this module is loaded before the first definition.
warnings.filterwarnings("ignore", category=dg.BetaWarning)
warnings.filterwarnings("ignore", category=dg.PreviewWarning)
