"""What all tests share: hypothesis without deadlines (two busy cores), and the project's real data."""

from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("pairgen", deadline=None, print_blob=True)
settings.load_profile("pairgen")

REAL_DATA = Path(__file__).resolve().parent.parent.parent / "shared" / "data"


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real public data beside the checkout; tests that need it skip where it is not."""
    if not REAL_DATA.is_dir():
        pytest.skip(f"no real data at {REAL_DATA}")
    return REAL_DATA
