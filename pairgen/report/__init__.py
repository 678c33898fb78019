"""What a person reads: one HTML file that opens from disk, and tables for the terminal.

Every text that a model wrote is hostile until escaped. The page holds no script and its policy allows
none; charts are drawn by matplotlib as SVG; nothing is fetched.
"""
