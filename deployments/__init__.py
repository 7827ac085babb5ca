"""How the flows are deployed: `prefect.yaml`, and `python -m deployments.up`, which starts it all here."""
