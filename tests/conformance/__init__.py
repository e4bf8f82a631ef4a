"""One table of operations, run under the default pipeline and under ours."""
