"""Usage tracking, for those who ask for it: what is sent, and how. Nobody else loads this."""
