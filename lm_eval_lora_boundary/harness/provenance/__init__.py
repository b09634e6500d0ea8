"""Where an adapter comes from, and whether it is evaluated as it was trained.

``folder.py``, ``in_use.py`` and ``noting_lm.py`` collect plain facts (``facts.py``); ``notes.py``
says in sentences what does not fit together. Notes never stop a run. ``base_name.py`` finds the
base model of an adapter.
"""
