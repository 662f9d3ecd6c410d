"""The API server: transport, authentication, routing, handlers, watches and discovery."""
