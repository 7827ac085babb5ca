"""The demo workloads: a world of support tickets, and BANKING77, with base models built from scratch."""
