"""Azure Blob Storage, Amazon S3, Google Cloud Storage, and whatever speaks their protocols, through ``obstore``.

``az://container/path``, ``s3://bucket/path`` and ``gs://bucket/path``; the path inside the bucket may be left out.
Credentials and endpoints come from the environment (``AZURE_STORAGE_*``, ``AWS_*``, ``GOOGLE_*``) or from keyword
options, both under the names that obstore documents.

* ``faults``: what each failure of the client library means;
* ``service``: the URL, the three services, and the two clients that a backend has;
* ``dialect``: how an operation becomes a request, and a reply an answer;
* ``scan``: one page of a list;
* ``backend``: the two shells, sync and async, that send what ``dialect`` decides.
"""

try:
    import obstore  # noqa: F401 - asked for here, so that its absence is explained once
except ModuleNotFoundError:
    from headstream.errors import InvalidInput

    raise InvalidInput(
        "cloud storage needs an extra: pip install 'headstream[azure]' for az://, 'headstream[s3]' for s3://, 'headstream[gcs]' for gs://"
    ) from None

from headstream.backends.cloud.backend import AsyncCloudBackend, CloudBackend

__all__ = ["AsyncCloudBackend", "CloudBackend"]
