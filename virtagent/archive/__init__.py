"""Directory trees as tar archives, for both ends: POSIX pax with extended attributes and sparse files as of GNU tar.

Not the standard library's tarfile: that keeps every member in memory, reads headers of any size, extracts by path and
writes neither extended attributes nor sparse files.
"""
