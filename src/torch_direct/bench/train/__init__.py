"""End-to-end training, beside the other ways to feed a GPU."""
