"""The two programs: ``virtagent`` for people and scripts on the host, ``virtagentd`` in the guest."""
