"""Plots, tables and the HTML page of a sweep or a trace.

Knows: the files that a sweep or a trace wrote, matplotlib, jinja2, rich.
Must not know: torch, lm-eval, or how anything was computed.
"""
