"""The command `mpcc`. Commands are read from their modules when they are called for, so that `--help` is quick."""

from compiler.cli.main import main

__all__ = ["main"]
