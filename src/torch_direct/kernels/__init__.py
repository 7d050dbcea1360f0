"""Kernels on raw tensors. Each stands beside a reference in plain PyTorch.

Nothing here knows of unified tensors, of placement, or of who owns memory.
"""
