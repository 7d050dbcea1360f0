"""The command line: `torch-direct train`, `torch-direct convert` and `torch-direct doctor`."""
