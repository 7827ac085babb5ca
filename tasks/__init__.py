"""The stages of a correction round, one module each: pure functions first, the Prefect tasks at the bottom."""
