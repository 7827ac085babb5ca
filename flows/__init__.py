"""Prefect flows and the command line: order, branching, approval and artifacts of correction rounds."""
