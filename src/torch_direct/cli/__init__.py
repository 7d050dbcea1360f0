"""The command line: `torch-direct` with its commands `train`, `convert`, `doctor` and `bench`."""
