"""What each kernel is timed on: a module an operation, of the same name."""

OPERATIONS = ("graph_conv", "ctr_graph_conv", "temporal_conv", "adaln_mlp", "guided_step", "joint_attention")
