"""What host and guest agree on: structs and method signatures, one file per noun.

The guest implements the interfaces, the host's stubs come from them. Nothing is ever taken away or made required: a
new field or parameter is optional, and says ``since`` when it came.
"""
