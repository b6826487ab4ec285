"""What `run` and `count` share: tools, certificates, processes, targets and load."""
