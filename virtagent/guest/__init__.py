"""The agent: the services of ``virtagent.api``, and the daemon that serves them on one or more channels."""
