"""``python -m reaper``, and the ``reaper`` command."""

from __future__ import annotations

from reaper.cli.main import main

if __name__ == "__main__":
    main()
