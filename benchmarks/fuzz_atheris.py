"""Coverage-guided fuzzing of one parser, for longer runs: ``pip install atheris``, then ``fuzz_atheris.py PARSER [-runs=N] [FOLDER…]``.

Options of libFuzzer follow the parser's name; without one the names are listed.
"""

from __future__ import annotations

import sys


def main() -> int:
    from faults.parsers import all_parsers

    with all_parsers() as parsers:
        name = sys.argv[1] if len(sys.argv) > 1 else ""
        if name not in parsers:
            print("\n".join(parsers))
            return 2
        import atheris
        from edgewright.core.errors import EdgewrightError

        parser = parsers[name]

        def one(data: bytes) -> None:
            try:
                parser.parse(data)
            except EdgewrightError:
                return

        atheris.instrument_all()
        atheris.Setup([sys.argv[0], *sys.argv[2:]], one)
        atheris.Fuzz()
    return 0


if __name__ == "__main__":
    sys.exit(main())
