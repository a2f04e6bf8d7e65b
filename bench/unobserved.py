"""The program without what it remembers of requests: no rows, captures, counters, requests in
flight. `python -m bench.unobserved` takes the program's own flags. What serving alone costs, with
everything else switched on, the access log too.
"""

from __future__ import annotations

import sys

from llamaswap.cli import main
from llamaswap.proxy.exchange import Exchange


def _nothing(*_arguments: object, **_named: object) -> None:
    """Observe nothing."""


if __name__ == "__main__":
    Exchange.observe = _nothing  # type: ignore[method-assign]
    sys.exit(main())
