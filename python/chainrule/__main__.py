"""Command line: ``python -m chainrule demo | bench | info``."""

from __future__ import annotations

import argparse
import platform
import sys
from io import TextIOWrapper
from pathlib import Path

import numpy as np

from chainrule import __version__, show_config
from chainrule.bench import command


def main() -> int:
    """Run the command that the arguments name; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m chainrule", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    demo = commands.add_parser("demo", help="train on handwritten digits, and compare with NumPy")
    demo.add_argument("--epochs", type=int, default=40, help="default: 40")
    demo.add_argument("--seed", type=int, default=0, help="default: 0")
    demo.add_argument(
        "--output",
        default="digits.safetensors",
        metavar="PATH",
        help="where to save the model (default: %(default)s)",
    )
    bench = commands.add_parser("bench", help="compare with every peer that is installed")
    command.add_arguments(bench)
    info = commands.add_parser("info", help="print versions, and what the core runs on")
    info.add_argument(
        "--cmake",
        action="store_true",
        help="print the folder that CMake's chainrule_DIR has to name, for C++ programs",
    )
    arguments = parser.parse_args()
    if arguments.command == "demo" and arguments.epochs < 1:
        demo.error(f"argument --epochs: must be at least 1, got {arguments.epochs}")

    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # ∂ and δ must not end a run on an old terminal
            stream.reconfigure(errors="replace")
    if arguments.command == "info" and arguments.cmake:
        print(Path(__file__).parent / "cmake")
        return 0
    if arguments.command == "info":
        print(f"chainrule {__version__}, NumPy {np.__version__}, Python {sys.version.split()[0]}")
        print(platform.platform())
        show_config()
        return 0
    if arguments.command == "bench":
        return command.run(arguments)

    from chainrule.demo.digits import run

    try:
        run(arguments.epochs, arguments.seed, arguments.output)
    except (ImportError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
