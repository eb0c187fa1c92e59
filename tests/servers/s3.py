"""Two servers that speak S3: ministack, quick to start, and SeaweedFS, a real store that is used in production."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, ClassVar, Final

from servers.base import REQUEST_ATTEMPTS, REQUEST_SECONDS, ProcessServer, free_port
from servers.install import VENV

ACCESS_KEY: Final = "headstream"
SECRET_KEY: Final = "headstream-tests"
REGION: Final = "us-east-1"


class S3Server(ProcessServer):
    """What the S3 servers share: addresses with the bucket in the path, one access key, buckets made with boto3."""

    scheme: ClassVar[str] = "s3"

    def environment(self, address: str | None = None) -> dict[str, str]:
        """What obstore and boto3 read: credentials, region and endpoint."""
        return {
            "AWS_ACCESS_KEY_ID": ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
            "AWS_REGION": REGION,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_ENDPOINT_URL": address or self.address,
            "AWS_ALLOW_HTTP": "true",
        }

    def create_bucket(self, name: str) -> None:
        """Make the bucket ``name``."""
        client = self._client(REQUEST_ATTEMPTS)
        with closing(client), suppress(client.exceptions.BucketAlreadyOwnedByYou):  # an attempt whose answer was lost
            client.create_bucket(Bucket=name)

    def _client(self, attempts: int) -> Any:
        """A boto3 client that asks at most ``attempts`` times."""
        import boto3
        from botocore.config import Config

        return boto3.client(
            "s3",
            endpoint_url=self.address,
            aws_access_key_id=ACCESS_KEY,
            aws_secret_access_key=SECRET_KEY,
            region_name=REGION,
            config=Config(
                connect_timeout=REQUEST_SECONDS,
                read_timeout=REQUEST_SECONDS,
                retries={"total_max_attempts": attempts},
                s3={"addressing_style": "path"},
            ),
        )


class Ministack(S3Server):
    """S3 in memory. It keeps every condition under concurrency, and checks no signature."""

    name: ClassVar[str] = "ministack"

    def command(self) -> Sequence[str | Path]:
        """Settings are environment variables."""
        return (VENV / "bin" / "ministack",)

    def variables(self) -> Mapping[str, str]:
        """Only S3, and only on loopback."""
        return {
            "GATEWAY_PORT": str(self.port),
            "BIND_HOST": "127.0.0.1",
            "MINISTACK_HOST": "127.0.0.1",
            "SERVICES": "s3",
        }


class SeaweedFS(S3Server):
    """A distributed store, all of it in one process. It checks signatures, Host included.

    The losers of a race for one key wait about a second each: keep races small.
    """

    name: ClassVar[str] = "seaweedfs"
    stop_seconds: ClassVar[float] = 0.2  # it would take ten, to hand over volumes that nobody is left to take

    def command(self) -> Sequence[str | Path]:
        """Master, volume, filer and S3 gateway, each with its HTTP and its gRPC port."""
        credentials = [{"accessKey": ACCESS_KEY, "secretKey": SECRET_KEY}]
        identity = {"name": "tests", "credentials": credentials, "actions": ["Admin", "Read", "Write", "List"]}
        config = self.folder / "s3.json"
        config.write_text(json.dumps({"identities": [identity]}))
        (self.folder / "data").mkdir()
        inner = ("master.port", "volume.port", "filer.port")
        grpc = (*(f"{port}.grpc" for port in inner), "s3.port.grpc")
        ports = {name: free_port() for name in (*inner, *grpc)}
        self._resources.callback(_remove_sockets, {self.port, *ports.values()})
        return (
            VENV / "bin" / "weed",
            "server",
            f"-dir={self.folder / 'data'}",
            "-ip=127.0.0.1",
            "-ip.bind=127.0.0.1",
            "-filer",
            "-s3",
            f"-s3.config={config}",
            f"-s3.port={self.port}",
            *(f"-{name}={port}" for name, port in ports.items()),
            "-s3.port.iceberg=0",
            "-s3.port.lance=0",
            "-s3.autoCreateBucket=false",
            "-volume.max=1000",
            "-master.volumeSizeLimitMB=64",
        )

    def variables(self) -> Mapping[str, str]:
        """One volume for each bucket; seven are usual, and a test may make many buckets."""
        return {"WEED_MASTER_VOLUME_GROWTH_COPY_1": "1"}

    def answers(self) -> bool:
        """Whether an object can be written: the gateway answers long before there is a volume to write to."""
        if not super().answers():
            return False
        from botocore.exceptions import BotoCoreError, ClientError

        client = self._client(1)
        try:
            if not client.list_buckets()["Buckets"]:
                client.create_bucket(Bucket="ready")
            client.put_object(Bucket="ready", Key="ready", Body=b"")
        except (BotoCoreError, ClientError):
            return False
        else:
            return True
        finally:
            client.close()


def _remove_sockets(ports: set[int]) -> None:
    """Remove the Unix sockets that SeaweedFS puts there for each of its ports, whatever TMPDIR says, and leaves."""
    for port in ports:
        for path in Path("/tmp").glob(f"seaweedfs-*-{port}.sock"):
            path.unlink(missing_ok=True)
