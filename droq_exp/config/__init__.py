"""Typed configuration: the schema, the composition of ``conf/`` and the checks made once, before anything runs."""
