"""The page of the calls: loads Swagger UI from the installed package."""
