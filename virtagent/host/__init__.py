"""What host tooling embeds: ``connect()`` with typed stubs, and finding guests by name."""
