"""Judging reconstructions: metrics, classical baselines, studies and their reports."""
