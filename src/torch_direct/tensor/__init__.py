"""The unified tensor: its type, how its operators run, how it is made, saved and sent."""
