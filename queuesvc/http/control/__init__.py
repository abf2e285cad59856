"""The control plane: exchanges, queues, bindings. Called seldom, so made to be read."""
