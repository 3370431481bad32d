"""Programs that measure; nothing in here is a test. Compare numbers of one run only: machines drift."""
