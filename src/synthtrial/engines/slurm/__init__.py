"""SLURM: packs of tasks as job arrays, submitted through submitit."""
