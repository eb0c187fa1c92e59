from contextlib import closing
import pytest
from headstream.backends.sqlite import SqliteBackend
from headstream.testing.conformance import BackendConformance


class TestSqlite(BackendConformance):
    @pytest.fixture
    def backend(self, tmp_path):
        with closing(SqliteBackend(tmp_path / "store.db")) as backend:
            yield backend

    @pytest.fixture
    def another(self, backend, tmp_path):
        with closing(SqliteBackend(tmp_path / "store.db")) as backend:
            yield backend
