"""Benchmarks: every system's answer is checked before its speed is reported."""
