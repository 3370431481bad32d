"""How cost grows: curves, not points. ``make growth`` prints the table and writes docs/growth.md and docs/growth.svg.

==================  ============================================================================
``payload``         bytes in one call or stream
``calls``           calls in flight
``streams``         open streams
``guests``          connected guests in one host process (``guest_process`` is the other end)
``services``        services registered in a daemon
``work``            the same in instructions, in two cores joined in memory: what noise cannot touch
                    (``counting`` is what runs under callgrind, ``workloads`` what it does in a ``core_pair``)
``metric``          what a curve is; ``fit`` reads its exponent, and judges it
``one_point``       one point of one curve, in a process of its own (``peers``), with a ``server`` in another
``command``         the command: ``rounds`` of all points, then ``table``, ``page`` and ``plot``
==================  ============================================================================
"""
