"""`python -m h5port` is the command `h5port`."""

from h5port.cli import main

if __name__ == "__main__":  # processes that convert many files import this, too
    main()
