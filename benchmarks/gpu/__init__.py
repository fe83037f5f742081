"""A day on a GPU: all that is to be measured on one, in slices that can be repeated."""
