"""Real servers for the tests, on free loopback ports, and a proxy that makes their answers go wrong.

=============================  ==================================================================================
:mod:`servers.azure`           Azurite: Azure Blob Storage
:mod:`servers.s3`              ministack and SeaweedFS: S3
:mod:`servers.gcs`             the part of Google Cloud Storage's XML API that headstream uses, in this process
:mod:`servers.proxy`           cuts, delays and errors between a client and a server; counts of requests; latency
:mod:`servers.fixtures`        pytest fixtures: each server is started once a session, when a test first asks for it
:mod:`servers.install`         ``python -m servers.install`` puts the programs into ``.servers/``
=============================  ==================================================================================
"""
