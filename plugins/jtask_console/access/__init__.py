"""Who may look at the console and who may act: decisions, and the middleware that enforces them."""
