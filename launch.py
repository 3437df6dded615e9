#!/usr/bin/env python3
"""Launch one vLLM server from composed configuration: python launch.py model=llama3_8b; --help shows how."""

import sys

from mixvllm.cli.launch import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
