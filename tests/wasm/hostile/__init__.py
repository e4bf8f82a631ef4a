"""Modules that were written to do harm, and what happens to whoever reads an array that names one."""
