"""`python -m ovconvert`."""

from ovconvert.cli import main

if __name__ == "__main__":
    main()
