"""The program behind `jtask demo`: no plugin, and imported by nothing but that command."""
