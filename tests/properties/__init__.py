"""Any array, any selection, any sequence of writes: equal to numpy and to zarr-python."""
