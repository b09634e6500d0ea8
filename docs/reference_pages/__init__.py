"""The pages of the reference: one module per page, with its ``TITLE`` and its ``text()``."""
