"""What starts distributed processes."""

#: Launchers that MMEngine knows.
LAUNCHERS = ('none', 'pytorch', 'slurm', 'mpi')
