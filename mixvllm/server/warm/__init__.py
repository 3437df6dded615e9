"""Warm engines: servers that are forked from an interpreter which has imported vLLM already.

A vLLM process imports for many seconds before it does anything. A warm engine does so once, with the environment of
the servers to come, and forks a guardian for each of them, which forks the server: the same processes, signals,
sessions, log and exit statuses as of a cold start. What a server is told by its command, its environment and its
folder for temporary files it gets after the fork; what vLLM reads while it is imported decides which warm engine it
may come from, see `warm_key`.

    engine       the program that imports and forks; it ends when the launcher closes its socket, or dies
    preload      what it imports, and what of that depends on where it happened
    program      how a fork becomes the server
    forked       a forked guardian, as the launcher sees it
    interpreter  a warm engine, as the launcher sees it
    shared       what its servers have in common
    engines      the warm engines of a launcher

On GPUs only the front end is forked: vLLM starts its engine and workers by itself, and a warm engine in which a device
was initialised is refused. That part was never run on a GPU.
"""
