"""The typed layer: methods from annotations, validation, schemas, introspection, interceptors, stubs, loading.

==================  ==========================================================================
``service``         ``Service``, the base class; ``handlers_of``; ``module_service`` is in ``module``
``options``         ``@method(...)`` and ``@in_thread``
``signature``       what a method takes and gives, read from its annotations
``annotation``      one annotation: is it supported, how is it called, what is its schema
``binding``         arguments from the wire, checked
``streams``         typed streams, received and sent
``stub``            the caller's side of an interface
``description``     what introspection tells of a method; ``introspection`` is the service ``rpc``
``interceptors``    code around handlers and around calls
``loading``         services of third parties
==================  ==========================================================================
"""
