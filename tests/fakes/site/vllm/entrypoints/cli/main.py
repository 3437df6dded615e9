"""`python -m vllm.entrypoints.cli.main serve MODEL ...`, as the real one is started."""

from fake_vllm.api_server import main

if __name__ == "__main__":
    main()
