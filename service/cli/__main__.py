"""`python -m service.cli`: the `stoppress` command without its console script."""

from service.cli import main

main()
