"""The commands of `flywheel`, by what they are for; `flows/cli.py` puts them together."""
