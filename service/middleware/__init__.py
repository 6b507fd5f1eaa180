"""ASGI layers around every call, outermost first as `service.app` stacks them."""
