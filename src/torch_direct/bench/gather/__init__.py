"""`torch-direct bench gather`: rows out of host memory, beside the link and the other ways."""
