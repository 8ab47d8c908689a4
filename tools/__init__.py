"""What a maintainer runs: studies, benchmarks and figures, as `python -m tools.NAME` from the repository."""
