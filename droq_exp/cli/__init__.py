"""The command ``droq-exp``: what a sweep would do, how far it is, what to do about what failed, and what came of it."""
