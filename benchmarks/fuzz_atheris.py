"""Coverage-guided fuzzing of one parser, for longer runs: ``pip install atheris``, then ``fuzz_atheris.py PARSER [-runs=N] [FOLDER…]``.

Options of libFuzzer follow the parser's name; without one the names are listed.
"""

from __future__ import annotations

import sys
from contextlib import ExitStack


def main() -> int:
    import atheris
    from faults.parsers import all_parsers

    with ExitStack() as stack:
        # Only what is ours guides: to count every branch of NumPy takes minutes and finds NumPy's.
        with atheris.instrument_imports(include=["edgewright"]):
            parsers = stack.enter_context(all_parsers())
        from edgewright.core.errors import EdgewrightError

        name = sys.argv[1] if len(sys.argv) > 1 else ""
        if name not in parsers:
            print("\n".join(parsers))
            return 2
        parser = parsers[name]

        def one(data: bytes) -> None:
            try:
                parser.parse(data)
            except EdgewrightError:
                return

        atheris.Setup([sys.argv[0], *sys.argv[2:]], one)
        atheris.Fuzz()
    return 0


if __name__ == "__main__":
    sys.exit(main())
