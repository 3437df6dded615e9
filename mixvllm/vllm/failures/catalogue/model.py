"""Failures of the model: found, fetched, whole, known to this vLLM."""

from __future__ import annotations

from mixvllm.vllm.failures.catalogue.entry import Failure, Rank, foreign_sign, sign

FAILURES = (
    Failure(
        id="model-gated",
        kind="environment",
        signs=(
            foreign_sign("GatedRepoError"),
            foreign_sign("You are trying to access a gated repo"),
            foreign_sign("Cannot access gated repo"),
            foreign_sign("Access to model", r"Access to model \S+ is restricted"),
        ),
        cause="The hub gives {model} only to those who accepted its licence, and does not know that you did.",
        fix="Accept it on the model's page, and export HF_TOKEN in your shell; or name a local copy as model.name.",
    ),
    Failure(
        id="repository-not-found",
        kind="config",
        signs=(
            foreign_sign("RepositoryNotFoundError"),
            foreign_sign("Repository Not Found for url"),
            foreign_sign("is not a valid model identifier listed on"),
        ),
        cause="The hub has no model {model}, or shows it only to those who may see it.",
        fix="Check model.name; for a private model, export HF_TOKEN in your shell.",
    ),
    Failure(
        id="revision-not-found",
        kind="config",
        signs=(
            foreign_sign("RevisionNotFoundError"),
            foreign_sign("is not a valid git identifier"),
        ),
        cause="The hub's {model} has no such revision.",
        fix="Correct model.revision; null takes the default branch.",
        override="model.revision=null",
    ),
    Failure(
        id="model-path-not-found",
        kind="config",
        signs=(
            foreign_sign("HFValidationError", r"HFValidationError: .*'(?P<path>[^']+)'"),
            foreign_sign("Incorrect path_or_model_id", r"path_or_model_id: '(?P<path>[^']+)'"),
        ),
        cause="There is no folder {path} on this machine, and no model on the hub has such a name.",
        fix="Correct model.name, or mount what holds it.",
    ),
    Failure(
        id="model-not-on-this-machine",
        kind="environment",
        signs=(
            foreign_sign("Cannot find an appropriate cached snapshot folder"),
            foreign_sign("OfflineModeIsEnabled"),
            foreign_sign("outgoing traffic has been disabled"),
        ),
        cause="{model} is not in this machine's cache of the hub, and it may not be fetched (HF_HUB_OFFLINE).",
        fix="Fetch it where there is a network, into a cache that HF_HOME names; or name a local copy as model.name.",
    ),
    Failure(
        id="hub-unreachable",
        kind="environment",
        signs=(
            foreign_sign("trying to locate the file on the Hub and we cannot find"),
            foreign_sign("We couldn't connect to"),
            foreign_sign("LocalEntryNotFoundError"),
            foreign_sign("name resolution", r"(?:Temporary failure in|Failure in|Name or service) name resolution"),
            foreign_sign("Max retries exceeded with url", r"MaxRetryError.*|huggingface.*Max retries exceeded"),
            foreign_sign("NameResolutionError"),
        ),
        cause="The hub cannot be reached from here, and {model} is not in this machine's cache.",
        fix="Fetch it where there is a network, into a cache that HF_HOME names; or name a local copy as model.name.",
        rank=Rank.GENERAL,
    ),
    Failure(
        id="hub-busy",
        kind="transient",
        signs=(
            foreign_sign("429 Too Many Requests"),
            foreign_sign("429 Client Error"),
            foreign_sign("Too Many Requests for url"),
        ),
        cause="The hub answers no more requests from here for a while.",
        fix="Wait some minutes, and fetch the model once for all servers: hf download, with HF_TOKEN exported.",
    ),
    Failure(
        id="model-without-config",
        kind="config",
        signs=(
            sign("Could not detect config format for no config file found"),
            foreign_sign("does not appear to have a file named config.json"),
            foreign_sign("Unrecognized model in", r"Unrecognized model in .*model_type"),
        ),
        cause="{model} has no config.json that says what it is.",
        fix="Name the folder that has it as model.name, or fetch the model whole.",
    ),
    Failure(
        id="model-not-found",
        kind="config",
        signs=(sign("Invalid repository ID or local directory specified"),),
        cause="{model} is neither a folder with a model nor a model on the hub that can be read from here.",
        fix="Check model.name; the lines above may say more.",
        rank=Rank.GENERAL,
    ),
    Failure(
        id="no-weights",
        kind="environment",
        signs=(sign("Cannot find any model weights with", r"model weights with `(?P<path>[^`]*)`"),),
        cause="{path} holds no weights in a format that is looked for.",
        fix="Fetch the model whole, or say what there is with model.load_format.",
    ),
    Failure(
        id="weights-damaged",
        kind="environment",
        signs=(
            foreign_sign("SafetensorError"),
            foreign_sign("Error while deserializing header"),
            foreign_sign("PytorchStreamReader failed"),
        ),
        cause="A file of the weights of {model} is cut short or is no weights at all.",
        fix="Delete it and fetch it again; a copy of git without its large files (git lfs pull) looks so too.",
    ),
    Failure(
        id="weights-do-not-match",
        kind="config",
        signs=(
            sign("There is no module or parameter named "),
            sign("Attempted to load weight (", r"Attempted to load weight \(.*\) into parameter"),
            foreign_sign("exceeds dimension size", r"start \(\d+\) \+ length \(\d+\) exceeds dimension size"),
            sign("Following weights were not initialized from checkpoint", origin="older"),
        ),
        cause="The weights of {model} are not those that its config.json describes.",
        fix="Fetch weights and config.json of the same revision; an adapter needs the model it was made for.",
    ),
    Failure(
        id="architecture-not-supported",
        kind="config",
        signs=(
            sign("are not supported for now. ", r"architectures \['(?P<names>.*?)'\] are not supported"),
            sign("is not compatible with vLLM.", r"implementation of '(?P<names>[^']+)' is not compatible with vLLM"),
        ),
        cause="This vLLM does not know the architecture {names}.",
        fix="Serve with a newer release (server.python names another environment), or install the model's plugin.",
    ),
    Failure(
        id="architecture-no-longer-supported",
        kind="config",
        signs=(sign("was supported in vLLM until ", r"(?P<name>\S+) was supported in vLLM until (?P<last>\S+),"),),
        cause="vLLM has dropped the architecture {name}; {last} was the last release with it.",
        fix="Serve with vLLM {last}: server.python names the environment that has it.",
    ),
    Failure(
        id="architecture-needs-plugin",
        kind="config",
        signs=(
            sign(
                "is not supported in-tree anymore",
                r"architecture (?P<name>\S+) is not supported in-tree anymore\..* plugin at (?P<url>\S+)",
            ),
        ),
        cause="The architecture {name} needs a plugin of vLLM.",
        fix="Install {url} beside vLLM.",
    ),
    Failure(
        id="model-type-unknown",
        kind="config",
        signs=(
            foreign_sign(
                "does not recognize this architecture", r"model type `(?P<type>[^`]*)` but Transformers does not"
            ),
        ),
        cause="The installed transformers does not know models of type {type}.",
        fix="Install another release of transformers beside vLLM: a newer one for a new model.",
    ),
    Failure(
        id="architecture-not-inspected",
        kind="environment",
        signs=(
            sign("to be inspected. Please check the logs"),
            sign("Error in inspecting model architecture"),
        ),
        cause="vLLM could not look into its own model class: something it needs is missing on this machine.",
        fix="The traceback above the line names it: a library, a driver, or a wrong CUDA_VISIBLE_DEVICES.",
        rank=Rank.GENERAL,
    ),
    Failure(
        id="remote-code-not-trusted",
        kind="config",
        signs=(
            foreign_sign("requires you to execute the", r"you to execute the (?:configuration|tokenizer|model)"),
            foreign_sign("contains custom code which must be executed"),
            sign("`trust_remote_code=True` in LLM or using"),
            sign("Failed to load the model config. If the model "),
        ),
        cause="{model} brings code of its own, and you have not allowed to run it.",
        fix="Read that code first; then model.trust_remote_code=true, with model.revision=COMMIT, allows it.",
    ),
)
