"""The names of the storage client's options, and of the environment variables that they come from.

They are the client library's own. A test asks the library whether it knows each of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

PREFIXES: Final[Mapping[str, str]] = {"az": "AZURE", "s3": "AWS", "gs": "GOOGLE"}
"""How the names of a service's environment variables start."""


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


def _named(prefix: str, *names: str) -> dict[str, tuple[str, ...]]:
    return {name: (f"{prefix}_{name}".upper(),) for name in names}


VARIABLES: Final[Mapping[str, Mapping[str, tuple[str, ...]]]] = {
    "az": {
        "account_name": ("AZURE_STORAGE_ACCOUNT_NAME",),
        "account_key": ("AZURE_STORAGE_ACCOUNT_KEY", "AZURE_STORAGE_ACCESS_KEY", "AZURE_STORAGE_MASTER_KEY"),
        "sas_key": ("AZURE_STORAGE_SAS_KEY", "AZURE_STORAGE_SAS_TOKEN"),
        "token": ("AZURE_STORAGE_TOKEN",),
        "client_id": ("AZURE_STORAGE_CLIENT_ID", "AZURE_CLIENT_ID"),
        "client_secret": ("AZURE_STORAGE_CLIENT_SECRET", "AZURE_CLIENT_SECRET"),
        "tenant_id": (
            "AZURE_STORAGE_TENANT_ID",
            "AZURE_STORAGE_AUTHORITY_ID",
            "AZURE_TENANT_ID",
            "AZURE_AUTHORITY_ID",
        ),
        "authority_host": ("AZURE_STORAGE_AUTHORITY_HOST", "AZURE_AUTHORITY_HOST"),
        "endpoint": ("AZURE_STORAGE_ENDPOINT", "AZURE_ENDPOINT"),
        "msi_endpoint": ("AZURE_MSI_ENDPOINT", "AZURE_IDENTITY_ENDPOINT"),
        "use_emulator": ("AZURE_STORAGE_USE_EMULATOR",),
        "encryption_key": ("AZURE_STORAGE_ENCRYPTION_KEY",),
        **_named("AZURE", "credential_type", "object_id", "msi_resource_id", "federated_token_file", "use_azure_cli"),
        **_named("AZURE", "skip_signature", "container_name", "disable_tagging", "use_fabric_endpoint"),
        **_named("AZURE", "fabric_token_service_url", "fabric_workload_host", "fabric_session_token"),
        **_named("AZURE", "fabric_cluster_identifier"),
    },
    "s3": {
        "session_token": ("AWS_SESSION_TOKEN", "AWS_TOKEN"),
        "endpoint": ("AWS_ENDPOINT_URL", "AWS_ENDPOINT"),
        "bucket": ("AWS_BUCKET", "AWS_BUCKET_NAME"),
        **_named("AWS", "access_key_id", "secret_access_key", "region", "default_region", "skip_signature"),
        **_named("AWS", "endpoint_url_s3", "endpoint_url_sts", "metadata_endpoint", "imdsv1_fallback", "role_arn"),
        **_named("AWS", "role_session_name", "web_identity_token_file", "container_credentials_relative_uri"),
        **_named("AWS", "container_credentials_full_uri", "container_authorization_token_file", "request_payer"),
        **_named("AWS", "checksum_algorithm", "conditional_put", "copy_if_not_exists", "disable_bulk_delete"),
        **_named("AWS", "disable_tagging", "s3_express", "server_side_encryption", "sse_bucket_key_enabled"),
        **_named("AWS", "sse_customer_key_base64", "sse_kms_key_id", "unsigned_payload"),
        **_named("AWS", "virtual_hosted_style_request"),
    },
    "gs": {
        "service_account": ("GOOGLE_SERVICE_ACCOUNT", "GOOGLE_SERVICE_ACCOUNT_PATH"),
        "bucket": ("GOOGLE_BUCKET", "GOOGLE_BUCKET_NAME"),
        **_named("GOOGLE", "service_account_key", "application_credentials", "bearer_token", "skip_signature"),
        **_named("GOOGLE", "base_url"),
    },
}
"""The environment variables of each option, by the client library's own names; the first one that is set counts."""

CLIENT: Final = _words(
    "allow_http allow_invalid_certificates connect_timeout default_content_type default_headers http1_only http2_only"
    " http2_keep_alive_interval http2_keep_alive_timeout http2_keep_alive_while_idle http2_max_frame_size"
    " pool_idle_timeout pool_max_idle_per_host proxy_url proxy_ca_certificate proxy_excludes randomize_addresses"
    " read_timeout root_certificate timeout user_agent"
)
"""Options of the HTTP client."""

ENDPOINTS: Final = frozenset({"endpoint", "endpoint_url_s3", "base_url"})
"""Where the objects are."""
URLS: Final = ENDPOINTS | {
    "endpoint_url_sts",
    "metadata_endpoint",
    "container_credentials_full_uri",
    "msi_endpoint",
    "authority_host",
    "fabric_token_service_url",
}
ELSEWHERE: Final = URLS - ENDPOINTS
"""Where credentials are, for those who have none."""
FILES: Final = frozenset(
    {
        "service_account",
        "application_credentials",
        "federated_token_file",
        "web_identity_token_file",
        "container_authorization_token_file",
    }
)
FLAGS: Final = _words(
    "allow_http allow_invalid_certificates http1_only http2_only http2_keep_alive_while_idle randomize_addresses"
    " use_emulator use_azure_cli skip_signature disable_tagging use_fabric_endpoint imdsv1_fallback s3_express"
    " disable_bulk_delete sse_bucket_key_enabled unsigned_payload virtual_hosted_style_request"
)
BUCKETS: Final = frozenset({"bucket", "container_name"})
"""What the URL says; the client library does not look at the variables then."""
TRUE: Final = frozenset({"1", "true", "on", "yes", "y"})
FALSE: Final = frozenset({"0", "false", "off", "no", "n"})
MULTILINE: Final = frozenset({"service_account_key", "root_certificate", "proxy_ca_certificate"})

CREDENTIALS: Final[Mapping[str, frozenset[str]]] = {
    "az": _words(
        "account_key sas_key token client_secret federated_token_file use_azure_cli use_emulator skip_signature"
        " credential_type fabric_session_token"
    ),
    "s3": _words(
        "access_key_id web_identity_token_file container_credentials_relative_uri container_credentials_full_uri"
        " skip_signature"
    ),
    "gs": _words("service_account service_account_key application_credentials bearer_token skip_signature"),
}
"""The options that bring credentials."""
ADVICE: Final[Mapping[str, str]] = {
    "az": "set AZURE_STORAGE_ACCOUNT_KEY or AZURE_STORAGE_SAS_KEY; AZURE_CLIENT_ID, AZURE_TENANT_ID and AZURE_CLIENT_SECRET; "
    "or AZURE_USE_AZURE_CLI=true",
    "s3": "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or pass credential_provider= (profiles in ~/.aws are not read)",
    "gs": "set GOOGLE_APPLICATION_CREDENTIALS or GOOGLE_SERVICE_ACCOUNT_KEY",
}


def full(scheme: str, name: str) -> str:
    """An option's longest name, which every version of the client library takes."""
    return VARIABLES[scheme][name][0].lower() if name in VARIABLES[scheme] else name


def _spelled(scheme: str) -> dict[str, str]:
    prefix = f"{PREFIXES[scheme].lower()}_"
    found = {name: name for name in (*VARIABLES[scheme], *CLIENT)}
    found |= {f"{prefix}{name}": name for name in CLIENT}
    for name, variables in VARIABLES[scheme].items():
        for variable in variables:
            word = variable.lower()
            short = word.removeprefix(prefix)
            found |= {word: name, short: name, short.removeprefix("storage_"): name}
    return found


SPELLINGS: Final = {scheme: _spelled(scheme) for scheme in PREFIXES}
KNOWN: Final = {scheme: frozenset(VARIABLES[scheme]) | CLIENT for scheme in PREFIXES}
TEXTS: Final = frozenset({"proxy_url"}).union(*VARIABLES.values()) - {"request_payer"}
"""Options that are strings, besides the flags."""
