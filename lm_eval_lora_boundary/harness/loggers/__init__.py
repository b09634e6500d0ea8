"""Hand results on disk to the hub, to W&B and to trackio, with lm-eval's loggers."""
