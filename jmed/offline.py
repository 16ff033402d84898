"""`offline: true`: no network call from any library, set before those libraries are imported; and no telemetry ever."""

import os

# Nothing listens on the discard port of one's own machine: what asks there is refused at once.
_NOBODY = "http://127.0.0.1:9"
_HERE = "localhost,127.0.0.1,::1"

TELEMETRY_OFF = {
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "DO_NOT_TRACK": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
    # Where it is disabled, the head of a cluster still reports that, once, to this address.
    "RAY_USAGE_STATS_REPORT_URL": _NOBODY,
}
NETWORK_OFF = {
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "HF_DATASETS_OFFLINE": "1",
    # A library without a switch: Ray 2.60 looks up metadata.google.internal and asks 169.254.169.254 in which cloud
    # it runs, even where its usage statistics are off. With a proxy that is not there it looks nothing up.
    **{name: _NOBODY for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY")},
    **{name: _HERE for name in ("no_proxy", "NO_PROXY")},
}


def forbid_network() -> None:
    """Before transformers, huggingface_hub or ray are imported; processes that are started later inherit it."""
    os.environ.update(NETWORK_OFF)
    forbid_telemetry()


def forbid_telemetry() -> None:
    os.environ.update(TELEMETRY_OFF)
