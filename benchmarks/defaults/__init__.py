"""How good the network without options is: presets beside gradient boosting on many tables."""
