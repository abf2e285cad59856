"""The data plane: publish, receive and settle, as pure ASGI on short paths."""
