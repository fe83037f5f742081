"""What can be learnt of a config, a training or a trained model, each tool as functions.

Nothing is imported here, so that a tool loads what it needs alone.
"""
