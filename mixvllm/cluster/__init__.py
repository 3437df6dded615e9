"""Slurm: from groups to arrays of jobs, what runs in each job, and what the queue says of them."""
