"""`python -m h5port` is the command `h5port`."""

from h5port.cli import main

main()
