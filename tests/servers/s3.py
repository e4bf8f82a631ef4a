"""An S3 on loopback: moto's server in a thread, one for all tests, a bucket for each."""

from __future__ import annotations

import urllib.request
import uuid
from dataclasses import dataclass
from typing import Any

__all__ = ["Bucket", "S3Server"]

ACCESS_KEY = "AKIAIOSFODNN7EXAMPLE"
SECRET_KEY = "wJalrXUtnFEMI-K7MDENG-bPxRfiCYEXAMPLEKEY"
REGION = "us-east-1"


@dataclass(frozen=True)
class Bucket:
    """A bucket, and how the libraries are told to reach it."""

    endpoint: str
    name: str

    def obstore(self, prefix: str | None = None) -> Any:
        """Return obstore's store of it."""
        from obstore.store import S3Store

        return S3Store(
            self.name,
            prefix=prefix,
            endpoint=self.endpoint,
            region=REGION,
            access_key_id=ACCESS_KEY,
            secret_access_key=SECRET_KEY,
            virtual_hosted_style_request=False,
            client_options={"allow_http": True},
        )

    def s3fs_options(self) -> dict[str, Any]:
        """Return `storage_options` for ``s3://`` under fsspec."""
        return {
            "key": ACCESS_KEY,
            "secret": SECRET_KEY,
            "client_kwargs": {"region_name": REGION, "endpoint_url": self.endpoint},
        }


class S3Server:
    """moto's server; `start` it, `stop` it."""

    def __init__(self) -> None:
        from moto.server import ThreadedMotoServer

        self._server: Any = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)

    def start(self) -> None:
        """Start it in a thread of its own."""
        self._server.start()
        host, port = self._server.get_host_and_port()
        self.endpoint = f"http://{host}:{port}"

    def stop(self) -> None:
        """Stop it and wait for its thread."""
        self._server.stop()

    def bucket(self) -> Bucket:
        """Make a new bucket."""
        # Servers in one process share what they hold: it is moto's, not theirs.
        name = f"bucket-{uuid.uuid4().hex}"
        # moto asks for no signature, so that boto3 (slow to import) is not needed here.
        request = urllib.request.Request(f"{self.endpoint}/{name}", method="PUT")
        with urllib.request.urlopen(request, timeout=30) as answer:
            assert answer.status == 200
        return Bucket(self.endpoint, name)
