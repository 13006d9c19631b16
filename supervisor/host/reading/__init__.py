"""The host as it is: samplers, their alert limits, their last hundred readings."""
