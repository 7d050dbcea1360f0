"""`torch-direct bench sample`: neighbour sampling, beside the other ways."""
