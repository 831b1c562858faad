"""The command ``droq-exp``: what a sweep would do, how far it is, and what to do about what failed."""
