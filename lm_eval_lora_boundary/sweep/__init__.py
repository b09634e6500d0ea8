"""Answer the same requests under many boundaries: the shared forward and its decoding."""
