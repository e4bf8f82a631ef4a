"""Every store that zarr-python can open, read and written through our pipeline."""
