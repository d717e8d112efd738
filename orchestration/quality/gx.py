"""The names of Great Expectations that this package uses, imported without what only unused expectations need.

Importing this module takes seconds, so only functions that run a suite import it. SciPy's statistics and Altair would
double that time.
"""

import os

from orchestration.imports import postponed, uncollected

os.environ["GX_ANALYTICS_ENABLED"] = "false"
with uncollected(), postponed("scipy.stats", "altair"):
    import great_expectations.expectations as expectations
    from great_expectations import get_context
    from great_expectations.core import ExpectationSuite
    from great_expectations.core.run_identifier import RunIdentifier
    from great_expectations.data_context.types.base import ProgressBarsConfig
    from great_expectations.render.renderer import ValidationResultsPageRenderer
    from great_expectations.render.view import DefaultJinjaPageView

__all__ = [
    "DefaultJinjaPageView", "ExpectationSuite", "ProgressBarsConfig", "RunIdentifier", "ValidationResultsPageRenderer",
    "expectations", "get_context",
]  # fmt: skip
