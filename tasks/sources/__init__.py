"""Where production traffic and feedback come from; one module a kind of source."""
