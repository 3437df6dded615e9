"""Failures of a configuration: arguments that vLLM refuses, and values that do not go together."""

from __future__ import annotations

from mixvllm.vllm.failures import remedies
from mixvllm.vllm.failures.catalogue.entry import Failure, Rank, foreign_sign, sign

FAILURES = (
    Failure(
        id="unknown-argument",
        kind="config",
        signs=(foreign_sign("error: unrecognized arguments", r"error: unrecognized arguments: (?P<arguments>.+)"),),
        cause="This vLLM has no argument {arguments}.",
        fix="Take it out, or serve with the release that has it; server.python names another environment.",
    ),
    Failure(
        id="argument-refused",
        kind="config",
        signs=(
            foreign_sign(
                "error: argument ",
                r"error: argument (?:-\w+/)?--(?P<flag>[a-z][a-z0-9-]*)[^:]*: (?P<problem>.+)",
            ),
        ),
        cause="vLLM refuses the value of --{flag}: {problem}",
        fix="Correct the value; vllm serve --help={flag} describes it.",
        override=remedies.mended_argument,
    ),
    Failure(
        id="max-model-len-exceeds-model",
        kind="config",
        signs=(
            sign(
                "than the derived max_model_len (",
                r"User-specified max_model_len \((?P<length>\d+)\) is greater than the derived max_model_len "
                r"\(\w+=(?P<longest>\d+)",
            ),
        ),
        cause="{length} tokens are asked for, and the model was made for {longest}.",
        fix="Lower inference.max_model_len, or set rope scaling in inference.hf_overrides where the model allows it.",
        override="inference.max_model_len={longest}",
    ),
    Failure(
        id="batch-below-max-model-len",
        kind="config",
        signs=(
            sign(
                "smaller than max_model_len (",
                r"max_num_batched_tokens \((?P<tokens>\d+)\) is smaller than max_model_len \((?P<needed>\d+)\)",
            ),
        ),
        cause="One step takes {tokens} tokens, and without chunked prefill it must take a prompt of {needed} whole.",
        fix="Raise inference.max_num_batched_tokens, or leave inference.enable_chunked_prefill on.",
        override=remedies.batch_that_holds_all,
    ),
    Failure(
        id="batch-below-max-num-seqs",
        kind="config",
        signs=(
            sign(
                "be greater than or equal to max_num_seqs ",
                r"max_num_batched_tokens \((?P<tokens>\d+)\) must be greater than or equal to max_num_seqs "
                r"\((?P<needed>\d+)\)",
            ),
        ),
        cause="One step takes {tokens} tokens, and {needed} sequences with one token each are to run at once.",
        fix="Raise inference.max_num_batched_tokens, or lower inference.max_num_seqs.",
        override=remedies.batch_that_holds_all,
    ),
    Failure(
        id="bfloat16-not-supported",
        kind="config",
        signs=(sign("Bfloat16 is only supported on GPUs "),),
        cause="This GPU is too old for bfloat16.",
        fix="Use float16.",
        override="inference.dtype=half",
    ),
    Failure(
        id="quantization-not-supported-by-gpu",
        kind="config",
        signs=(
            sign("is not supported for the current GPU. Minimum "),
            sign("Quantization scheme is not supported for the current GPU"),
        ),
        cause="This GPU is too old for the way {model} is quantized.",
        fix="Take another checkpoint of the model, or another GPU.",
    ),
    Failure(
        id="quantization-mismatch",
        kind="config",
        signs=(
            sign(
                "Quantization method specified in the model config ",
                r"model config \((?P<declared>[^)]+)\) does not match .*\((?P<asked>[^)]+)\)",
            ),
        ),
        cause="The model is quantized by {declared}, and {asked} is asked for.",
        fix="Leave it to the checkpoint.",
        override="inference.quantization=null",
    ),
    Failure(
        id="unknown-quantization",
        kind="config",
        signs=(
            sign("Unknown quantization method: ", r"Unknown quantization method: (?P<asked>[^\s.]+)"),
            sign("quantization is currently not supported in", r"(?P<asked>\S+) quantization is currently not"),
        ),
        cause="This vLLM does not know the quantization {asked}.",
        fix="Leave it to the checkpoint.",
        override="inference.quantization=null",
    ),
    Failure(
        id="dtype-not-supported-by-quantization",
        kind="config",
        signs=(
            sign(
                "is not supported for quantization ",
                r"torch\.(?P<dtype>\w+) is not supported for quantization method (?P<method>[^\s.]+)\. "
                r"Supported dtypes: \[(?P<dtypes>[^\]]*)",
            ),
        ),
        cause="The quantization {method} cannot compute in {dtype}.",
        fix="Choose a type that it supports.",
        override=remedies.first_supported_dtype,
    ),
    Failure(
        id="attention-backend-not-valid",
        kind="config",
        signs=(
            sign("is not valid for ", r"Selected backend (?P<backend>\S+) is not valid for this configuration"),
            sign("Unknown attention backend: ", r"Unknown attention backend: '(?P<backend>[^']*)'"),
        ),
        cause="The attention backend {backend} does not do what is asked of it, or does not exist.",
        fix="Leave the choice to vLLM.",
        override="inference.attention_backend=null",
    ),
    Failure(
        id="no-attention-backend",
        kind="config",
        signs=(sign("No valid attention backend found for "),),
        cause="No attention backend of this GPU does what is asked: the type of the KV cache may be why.",
        fix="Leave the type of the KV cache to vLLM; the line names each backend's reason.",
        override="inference.kv_cache_dtype=null",
    ),
    Failure(
        id="chat-template-not-found",
        kind="config",
        signs=(
            sign("appears path-like, but doesn't exist!", r"template string \((?P<path>.*?)\) appears path-like"),
            sign("the supplied chat template path doesn't exist", r"the supplied (?P<path>chat template path) doesn't"),
        ),
        cause="There is no chat template {path}.",
        fix="Correct the path.",
        override="model.chat_template=null",
    ),
    Failure(
        id="no-chat-template",
        kind="config",
        signs=(sign("As of transformers v4.44, default chat template is no longer "),),
        cause="{model} has no chat template, so it takes no chats: it may be a base model.",
        fix="Give it one with model.chat_template=FILE, or send completions instead.",
        rank=Rank.REQUEST,
    ),
    Failure(
        id="unknown-tool-parser",
        kind="config",
        signs=(
            sign("invalid tool call parser: ", r"call parser: (?P<name>\S+) \(chose from \{(?P<known>[^}]*)"),
            sign("Tool parser '", r"Tool parser '(?P<name>[^']*)' not found(?P<known>)"),
        ),
        cause="This vLLM has no parser of tool calls named {name}.",
        fix="Choose one that the line names.",
        override=remedies.nearest_tool_parser,
    ),
    Failure(
        id="unknown-reasoning-parser",
        kind="config",
        signs=(
            sign("invalid reasoning parser: ", r"reasoning parser: (?P<name>\S+) \(chose from \{(?P<known>[^}]*)"),
            sign(
                "Reasoning parser '", r"Reasoning parser '(?P<name>[^']*)' not found\. Available parsers: (?P<known>.*)"
            ),
        ),
        cause="This vLLM has no parser of reasoning named {name}.",
        fix="Choose one that the line names.",
        override=remedies.nearest_reasoning_parser,
    ),
    Failure(
        id="tool-choice-without-parser",
        kind="config",
        signs=(sign("--enable-auto-tool-choice requires --tool-call-parser"),),
        cause="The model is to call tools, and no parser of its calls is named.",
        fix="Name it: model.tool_call_parser=PARSER.",
        override="model.enable_auto_tool_choice=false",
    ),
    Failure(
        id="lora-rank-exceeds-limit",
        kind="config",
        signs=(
            sign(
                " is greater than max_lora_rank",
                r"LoRA rank (?P<rank>\d+) is greater than max_lora_rank (?P<limit>\d+)",
            ),
        ),
        cause="The adapter has rank {rank}, and the server makes room for {limit}.",
        fix="Raise the limit.",
        override=remedies.lora_rank_above,
    ),
    Failure(
        id="not-a-multimodal-model",
        kind="config",
        signs=(sign(" is not a multimodal model"),),
        cause="{model} takes text alone, and something in the configuration is for images, sound or video.",
        fix="Take those settings out, e.g. inference.limit_mm_per_prompt.",
    ),
    Failure(
        id="block-size-not-supported",
        kind="config",
        signs=(sign("No common block size for ", r"No common block size for (?P<value>\d+) \((?P<backends>.*)\)\."),),
        cause="No attention kernel takes inference.block_size={value}: {backends}.",
        fix="Use a multiple of what the kernels take.",
        override="inference.block_size=128",
    ),
    Failure(
        id="vllm-port-is-a-uri",
        kind="config",
        signs=(sign("appears to be a URI. ", r"VLLM_PORT '(?P<value>[^']*)' appears to be a URI"),),
        cause="VLLM_PORT is {value}, which Kubernetes sets for a service that is named vllm.",
        fix="Give the service another name, or set the variable to a port.",
        override="server.env.VLLM_PORT=28500",
    ),
)
