"""What guests install: the Debian package and the single-file agent, each with the libraries it needs."""
