"""The hot modules as native code: mypyc compiles the same annotated source that runs interpreted everywhere else.

``python -m compiling extensions DIR`` is what the wheel's build hook runs, ``python -m compiling tree DIR`` what
``make compiled`` runs.
"""
