"""HTTP: application, settings, schemas, routers, auth, metrics and the command line."""
