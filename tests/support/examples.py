"""Which examples a property has whose examples take seconds.

CI tries the examples that the property names with `@example`: together they have every kind
of step. Before a release, `make test-release` tries random ones too: the Hypothesis profile THOROUGH.
"""

from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings

THOROUGH, RANDOM_EXAMPLES = "thorough", 30


def named_examples(test: Any) -> Any:
    """Mark a property whose examples take seconds. Not shrunk: that would take hours."""
    is_thorough = settings.get_current_profile_name() == THOROUGH
    phases = [Phase.explicit, Phase.generate] if is_thorough else [Phase.explicit]
    options = settings(max_examples=RANDOM_EXAMPLES, phases=phases, suppress_health_check=list(HealthCheck))
    marked = pytest.mark.examples(options(test))
    return pytest.mark.timeout(4 * 3600)(marked) if is_thorough else marked
