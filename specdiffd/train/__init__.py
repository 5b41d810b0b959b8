"""Training of the built-in instrument. Needs the extra ``train``; nothing else imports it."""
