"""`python -m queuesvc`."""

from queuesvc.main import main

main()
