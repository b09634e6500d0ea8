"""The open questions, one function each: records in, a finding out."""
