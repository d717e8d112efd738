"""A folder in the layout of the AWS Public Blockchain bucket, and bronze and raw behind it."""

from pathlib import Path

import pytest

from support.bitcoin import Bitcoin
from support.pipeline import Chain


@pytest.fixture
def bitcoin(chain: Chain, tmp_path: Path) -> Bitcoin:
    return Bitcoin(chain, tmp_path)
