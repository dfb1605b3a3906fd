"""Processors that show how to write one."""
