"""Benchmarks of what is trained: studies over policies, tasks and seeds."""
