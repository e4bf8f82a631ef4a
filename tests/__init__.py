"""Acceptance tests of the pipeline, written against zarr-python's behaviour only."""
