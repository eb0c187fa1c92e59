from contextlib import closing
import pytest
from headstream.backends.files import FilesBackend
from headstream.testing.conformance import BackendConformance


class TestFiles(BackendConformance):
    @pytest.fixture
    def backend(self, tmp_path):
        with closing(FilesBackend(tmp_path / "store.db")) as backend:
            yield backend

    @pytest.fixture
    def another(self, backend, tmp_path):
        with closing(FilesBackend(tmp_path / "store.db")) as backend:
            yield backend
