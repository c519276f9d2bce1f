"""What LangChain did, told as one record per model call.

This is the only door of LangChain. Only `_handler.py` imports it, and is itself imported
when LangChain is.
"""
