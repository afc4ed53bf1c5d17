"""Networks, each written once as an `nn.Module`."""
