"""The pages: what each shows, and what makes it show something else."""
