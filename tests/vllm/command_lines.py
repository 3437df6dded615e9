"""Command lines as vLLM's documentation and recipes show them, and as people keep them in scripts."""

from __future__ import annotations

LINES = {
    "quickstart": "vllm serve Qwen/Qwen2.5-1.5B-Instruct",
    "llama": """
        vllm serve meta-llama/Llama-3.1-8B-Instruct \\
          --dtype auto --max-model-len 8192 --gpu-memory-utilization 0.9 \\
          --enable-auto-tool-choice --tool-call-parser llama3_json \\
          --chat-template examples/tool_chat_template_llama3.1_json.jinja
    """,
    "llama_70b": "vllm serve meta-llama/Llama-3.3-70B-Instruct -tp 4 -pp=2 --distributed-executor-backend ray",
    "llama4": """
        VLLM_DISABLE_COMPILE_CACHE=1 vllm serve meta-llama/Llama-4-Scout-17B-16E-Instruct \\
          --tensor-parallel-size 8 --max_model_len 1M --kv-cache-dtype fp8 \\
          --limit-mm-per-prompt '{"image": 10}'
    """,
    "qwen3": """
        $ vllm serve Qwen/Qwen3-235B-A22B -tp 8 --enable-expert-parallel --reasoning-parser qwen3 \\
          --enable-auto-tool-choice --tool-call-parser hermes --max-num-batched-tokens 32k
    """,
    "qwen3_yarn": """
        vllm serve Qwen/Qwen3-8B --max-model-len 131072 \\
          --hf-overrides '{"rope_scaling": {"rope_type": "yarn", "factor": 4.0,
                           "original_max_position_embeddings": 32768}}'
    """,
    "qwen3_thinking_off": """
        vllm serve Qwen/Qwen3-8B --reasoning-parser qwen3 --port 9000 \\
          --default-chat-template-kwargs '{"enable_thinking": false}'
    """,
    "qwen_vl": """
        vllm serve Qwen/Qwen2.5-VL-72B-Instruct --host 0.0.0.0 --port 8000 -tp 4 \\
          --mm-encoder-tp-mode data --limit-mm-per-prompt.image 2 --limit-mm-per-prompt.video=0 \\
          --mm-processor-kwargs '{"min_pixels": 784, "fps": [2.0]}' --allowed-local-media-path /data/media
    """,
    "qwen_embedding": "vllm serve Qwen/Qwen3-Embedding-0.6B --runner pooling --convert embed "
    "--pooler-config '{\"use_activation\": false}'",
    "deepseek": """
        docker run --gpus all -v hf-cache:/cache --env "HF_TOKEN=<secret>" \\
          -e NCCL_DEBUG=WARN -p 8000:8000 --ipc=host --rm -it vllm/vllm-openai:latest \\
          --model deepseek-ai/DeepSeek-R1 --tensor-parallel-size 8 --enable-expert-parallel --trust-remote-code \\
          --data-parallel-size 1 --block-size 64 --max-num-seqs 256
    """,
    "deepseek_mtp": """
        vllm serve deepseek-ai/DeepSeek-V3.1 --enable-expert-parallel -dp 8 --enable-eplb \\
          --eplb-config '{"window_size": 1000, "step_interval": 3000, "num_redundant_experts": 32}' \\
          --speculative-config.method mtp --speculative-config.num_speculative_tokens 1
    """,
    "gpt_oss": "vllm serve openai/gpt-oss-120b --tensor-parallel-size 2 --async-scheduling --tool-call-parser openai "
    "--enable-auto-tool-choice --max-cudagraph-capture-size 2048 --stream-interval 20 --no-enable-prefix-caching",
    "gpt_oss_module": "python -m vllm.entrypoints.openai.api_server --model openai/gpt-oss-20b --served-model-name "
    "gpt-oss gpt-oss-20b --tool-server demo",
    "lora": """
        vllm serve meta-llama/Llama-2-7b-hf --enable-lora --max-loras 4 --max-lora-rank 64 --lora-modules \\
          sql-lora=$HOME/sql-lora '{"name": "b", "path": "/my loras/b", "base_model_name": "meta-llama/Llama-2-7b-hf"}'
    """,
    "ngram": """
        vllm serve facebook/opt-6.7b --seed 42 -tp 1 --speculative-config \\
          '{"method": "ngram", "num_speculative_tokens": 5, "prompt_lookup_max": 4}'
    """,
    "eagle3": "vllm serve meta-llama/Llama-3.1-8B-Instruct -O3 --speculative_config "
    '\'{"model": "yuhuili/EAGLE3-LLaMA3.1-Instruct-8B", "method": "eagle3", "num_speculative_tokens": 3}\'',
    "kv_producer": """
        CUDA_VISIBLE_DEVICES=0 VLLM_NIXL_SIDE_CHANNEL_PORT=5600 vllm serve Qwen/Qwen3-0.6B \\
          --port 8100 --enforce-eager \\
          --kv-transfer-config '{"kv_connector":"NixlConnector","kv_role":"kv_both","kv_buffer_device":"cuda"}'
    """,
    "kv_dotted": "vllm serve Qwen/Qwen3-0.6B --kv-transfer-config.kv_connector NixlConnector "
    "--kv-transfer-config.kv_role=kv_both --kv_transfer_config.kv_connector_extra_config.backends+ UCX,GDS",
    "compilation": "vllm serve m/m -cc.mode 3 -cc.cudagraph_mode=FULL_DECODE_ONLY "
    "--compilation-config.cudagraph_capture_sizes '[1, 2, 4]'",
    "structured": """
        vllm serve microsoft/Phi-3-mini-4k-instruct --trust-remote-code --revision main \\
          --structured-outputs-config '{"backend": "xgrammar", "disable_any_whitespace": true}'
    """,
    "awq": "env HF_HOME=/data/hf vllm serve TheBloke/Llama-2-7b-Chat-AWQ -q awq --dtype half --host localhost",
    "fp8": "vllm serve neuralmagic/Meta-Llama-3-8B-Instruct-FP8 --quantization=fp8 --kv-cache-dtype=fp8 "
    "--max-model-len=-1 --max-logprobs -1 -O 1",
    "mistral": "vllm serve mistralai/Mistral-Small-3.2-24B-Instruct-2506 --tokenizer_mode mistral "
    "--config_format mistral --load_format mistral --tool-call-parser mistral --enable-auto-tool-choice "
    '--override-generation-config \'{"temperature": 0.15, "top_p": 1.0}\'',
    "cors": 'vllm serve m/m --allowed-origins \'["https://a.example", "https://b.example"]\' --root-path /llm '
    "--middleware a.B --middleware c.D --uvicorn-log-level warning --disable-access-log-for-endpoints /health",
    "repeated": "vllm serve m/m --max-num-seqs 8 --max-num-seqs 16 --enforce-eager --no-enforce-eager "
    "--cudagraph-capture-sizes 1 2 4 --served-model-name a --served-model-name b c",
    "background": "nohup vllm serve m/m --api-key sk-verysecret --shutdown-timeout 5 --gpu-memory-util 0.5 "
    "> log 2>&1 &",
    "forms": "vllm serve --enforce-eager m/m -qawq --gpu-memory 0.5 --cpu-offload-gb 1e1 -dpe -tp 2 -n=2 "
    "--no-enable-pref",
    "spaces": """
        vllm serve "./my models/it's here" --chat-template '{% if x == "a" %}{{ "\\\\${y}" }}{% endif %}, [b]'
    """,
}
"""By a name for each."""
