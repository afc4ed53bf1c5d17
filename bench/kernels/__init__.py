"""What each kernel is timed on: a module an operation, of the same name."""

OPERATIONS = ("graph_conv", "temporal_conv", "guided_step")
