"""What each kernel is timed on: a module an operation, of the same name."""
