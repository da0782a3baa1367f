"""``python -m praxon`` is ``praxon``: what launchers of several processes start."""

from praxon.cli import main

if __name__ == "__main__":
    main()
