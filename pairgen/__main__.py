"""`python -m pairgen` is the `pairgen` command."""

from pairgen.cli import main

if __name__ == "__main__":
    main()
