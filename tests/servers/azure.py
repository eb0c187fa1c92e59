"""Azurite, Microsoft's emulator of Azure Blob Storage."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import ClassVar, Final

from servers.base import REQUEST_ATTEMPTS, REQUEST_SECONDS, ProcessServer
from servers.install import NODE, PACKAGE

ACCOUNT: Final = "devstoreaccount1"
KEY: Final = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
"""Of every Azurite in the world: published in its documentation, and no secret."""


class Azurite(ProcessServer):
    """Azure Blob Storage in memory. It checks signatures, and keeps every condition under concurrency.

    A list ignores the offset that it is asked to start from, and begins with the first key.
    """

    name: ClassVar[str] = "azurite"
    scheme: ClassVar[str] = "az"

    def command(self) -> Sequence[str | Path]:
        """Without files, telemetry, and complaints about API versions newer than itself."""
        program = NODE / "node_modules" / ".bin" / "azurite-blob"
        listen = ("--blobHost", "127.0.0.1", "--blobPort", str(self.port))
        return (program, *listen, "--silent", "--inMemoryPersistence", "--skipApiVersionCheck", "--disableTelemetry")

    def variables(self) -> Mapping[str, str]:
        """Without its collection of garbage, during which it answers nothing."""
        preload = PACKAGE / "without_collection.cjs"
        return {"AZURITE": str(NODE / "node_modules" / "azurite"), "NODE_OPTIONS": f"--require={preload}"}

    def environment(self, address: str | None = None) -> dict[str, str]:
        """What obstore reads: account, key and endpoint."""
        return {
            "AZURE_STORAGE_ACCOUNT_NAME": ACCOUNT,
            "AZURE_STORAGE_ACCOUNT_KEY": KEY,
            "AZURE_STORAGE_ENDPOINT": f"{address or self.address}/{ACCOUNT}",
            "AZURE_ALLOW_HTTP": "true",
        }

    def create_bucket(self, name: str) -> None:
        """Make the container ``name``."""
        from azure.core.exceptions import ResourceExistsError
        from azure.storage.blob import BlobServiceClient

        with (
            BlobServiceClient(
                f"{self.address}/{ACCOUNT}",
                credential=KEY,
                connection_timeout=REQUEST_SECONDS,
                read_timeout=REQUEST_SECONDS,
                retry_total=REQUEST_ATTEMPTS - 1,
                retry_backoff_factor=0,
            ) as service,
            suppress(ResourceExistsError),  # made by an attempt whose answer was lost
        ):
            service.create_container(name).close()
