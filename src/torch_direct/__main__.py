"""`python -m torch_direct`: the command line."""

from torch_direct.cli.main import run

if __name__ == "__main__":
    run()
