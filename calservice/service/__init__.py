"""Jobs: what the command line and `calservice.Client` do around a plan.

- ``requests``: from what users give to a `Request`;
- ``jobs``: check, run, report;
- ``background``: a job that runs in a thread and can be followed and cancelled;
- ``files``, ``preview``: the products of a job as Python objects;
- ``comparison``: the same job by two engines, compared.
"""
