"""The streams and consumers on the server, and the session that all parts share."""
