"""What is drawn or written for people about a sweep or a trace: plots, tables, the HTML page.

Knows: the files that a sweep or a trace wrote, matplotlib, jinja2, rich.
Must not know: torch, lm-eval, or how anything was computed.
"""
