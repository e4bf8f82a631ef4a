"""The long differential fuzz (`make fuzz`)."""
