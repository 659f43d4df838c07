"""What every test needs: that no other test's instance of Dagster is still in the air."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from dagster._core.storage.defs_state.base import set_defs_state_storage


@pytest.fixture(autouse=True)
def _no_state_storage_of_another_test() -> Iterator[None]:
    """Dagster keeps the storage of the instance that was entered last in a context variable, also after its end."""
    with set_defs_state_storage(None):
        yield
