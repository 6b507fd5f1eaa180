"""Who may call what: API keys, their scopes and their rates."""
