"""When the next runs of a workload are due, as the Prefect server that is named (PREFECT_API_URL) has them."""

import os
from typing import Any

import httpx

from tasks.config import find_config
from tasks.errors import ConfigError

SECONDS = 1.0
LOOKED_AT = 200  # scheduled runs of all workloads, the next ones first


def next_runs(config_file: str) -> dict[str, Any]:
    """The next scheduled run of each flow that reads the config file: `runs` (flow, at: ISO time), soonest first.

    `why` says why there are none, where the server was not asked, did not answer at once, or has none.
    """
    address = os.environ.get("PREFECT_API_URL")
    if not address:
        return {"runs": [], "why": "no Prefect server is asked (PREFECT_API_URL)"}
    try:
        with httpx.Client(timeout=SECONDS, headers=prefect_headers(), auth=prefect_auth()) as client:
            runs = [run for run in _scheduled(client, address) if _reads(run, config_file)]
            names = _flow_names(client, address, runs)
    except (httpx.HTTPError, ValueError, KeyError, TypeError) as error:
        return {"runs": [], "why": f"the Prefect server at {address} does not answer ({type(error).__name__})"}
    soonest: dict[str, str] = {}
    for run in runs:
        soonest.setdefault(names[run["flow_id"]], run["expected_start_time"])
    found = [{"flow": flow, "at": moment} for flow, moment in soonest.items()]
    return {"runs": found, "why": None if found else f"nothing of it is scheduled at {address}"}


def prefect_headers() -> dict[str, str]:
    """What Prefect's own client sends to say who asks, where a key is set."""
    key = os.environ.get("PREFECT_API_KEY")
    return {"Authorization": f"Bearer {key}"} if key else {}


def prefect_auth() -> tuple[str, str] | None:
    """User and password of a server that asks for them (PREFECT_API_AUTH_STRING)."""
    user, colon, password = os.environ.get("PREFECT_API_AUTH_STRING", "").partition(":")
    return (user, password) if colon else None


def _scheduled(client: httpx.Client, address: str) -> list[dict[str, Any]]:
    wanted = {"state": {"type": {"any_": ["SCHEDULED"]}}}
    asked = {"flow_runs": wanted, "sort": "EXPECTED_START_TIME_ASC", "limit": LOOKED_AT}
    return list(client.post(f"{address}/flow_runs/filter", json=asked).raise_for_status().json())


def _flow_names(client: httpx.Client, address: str, runs: list[dict[str, Any]]) -> dict[str, str]:
    if not runs:
        return {}
    asked = {"flows": {"id": {"any_": sorted({run["flow_id"] for run in runs})}}}
    flows = client.post(f"{address}/flows/filter", json=asked).raise_for_status().json()
    return {flow["id"]: flow["name"] for flow in flows}


def _reads(run: dict[str, Any], config_file: str) -> bool:
    """Whether a run is of the config file, as seen from the folder that this runs in."""
    request = run["parameters"].get("request")
    given = request.get("config") if isinstance(request, dict) else None
    if given is None or given == config_file:
        return given is not None
    try:
        return find_config(given).resolve() == find_config(config_file).resolve()
    except (ConfigError, OSError):
        return False
