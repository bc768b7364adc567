"""``python -m codivide``: the command line."""

from codivide.cli.app import main

if __name__ == "__main__":
    main()
