"""``python -m client.cli``: the command line by its interpreter."""

from client.cli.main import main

main()
