"""A stand-in for vLLM 0.32 that starts in milliseconds: its log, processes, signals, ports and faults.

script        what this server shall do, from the variable FAKE_VLLM
arguments     argv as `vllm serve` reads it
phases        the steps of start-up, where a script may make it hang or die
log_lines     the format of the real log
process_tree  forks with their own title, signals and lifetime; children that escape
engine_core   the EngineCore process and its workers
engine_client the API server's end of the EngineCore
request_load  what is running, waiting and counted
openai_bodies JSON as the real server words it
http_server   the endpoints
api_server    the leader: start-up, serving, shutdown
"""

VERSION = "0.32.0"
