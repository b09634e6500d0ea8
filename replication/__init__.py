"""Does the claim hold? Fine-tunes, cuts and tests, and writes down what was found.

``plan.py`` states what is run, before anything is run. ``run.py`` runs it: every step is a command
of ``lora-boundary``, and ``records.py`` keeps its numbers, without texts, in ``docs/replication/``.
``questions/`` answers the open questions from these files alone, and ``page.py`` writes
``docs/replication.md``.
"""
