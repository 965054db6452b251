"""A fake server and a client of it."""

from __future__ import annotations

import pytest
from fake_films import PATIENT, make_model

from serving.client import RecommenderClient
from serving.testing import FakeServer


@pytest.fixture
def server():
    with FakeServer(make_model()) as running:
        yield running


@pytest.fixture
def client(server):
    with RecommenderClient(server.target, "films", PATIENT) as made:
        yield made
