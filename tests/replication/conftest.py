"""Writes made-up records once."""

from __future__ import annotations

import pytest
from made_up_records import write_records


@pytest.fixture(scope="session")
def records(tmp_path_factory):
    """Return a folder with the records of one seed."""
    folder = tmp_path_factory.mktemp("page") / "replication"
    write_records(folder, documents=20)
    return folder
