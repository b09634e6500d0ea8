"""What commands print on the way."""

from __future__ import annotations

import logging
import warnings


def set_up(lm_eval: int = logging.WARNING) -> None:
    """Print what this package has to say, and of lm-eval what is at least as serious as given."""
    logging.basicConfig(format="%(message)s")
    logging.getLogger("lm_eval").setLevel(lm_eval)
    logging.getLogger("lm_eval.lora_boundary").setLevel(max(logging.INFO, lm_eval - 10))
    # from PEFT, about transformers: concerns their developers
    warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)
