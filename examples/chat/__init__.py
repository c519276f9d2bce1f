"""A chat app under real load: who asked what, told three times, and compared.

`python -m examples.chat` (or `make demo`) starts a small language model, a traced
FastAPI app and a loopback ingestion server, lets six people chat at once, and exits
with 0 only if all three tell the same story.
"""
