"""Benchmark cases of the kernels: one module per operation, with the same name."""

OPERATIONS = ("graph_conv", "ctr_graph_conv", "temporal_conv", "adaln_mlp", "guided_step", "joint_attention")
