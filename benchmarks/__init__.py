"""One module a claim, run as `python -m benchmarks.NAME`; the last line each prints is one JSON object."""
