"""A user's own rows: read and checked, divided into splits, and made into an lm-eval task.

Other modules need ``request.py`` (what a run asks for), ``metric.py`` (the user's own function)
and ``write.py`` (the task as a folder).
"""
