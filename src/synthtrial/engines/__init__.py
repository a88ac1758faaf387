"""What runs tasks: one machine, SLURM or Ray."""
