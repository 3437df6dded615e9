"""Commands on the runs that there are: `ps`, `logs`, `wait`, `url`, `stop`, `doctor`."""
