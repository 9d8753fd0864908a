"""What makes open pages change by themselves: news, who is told, and the stream to a browser."""
