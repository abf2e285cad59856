"""The verbs for people: `queuesvc serve` and what will stand beside it."""
