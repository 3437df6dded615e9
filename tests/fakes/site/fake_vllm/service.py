"""What the endpoints share: the engine, the load and the names."""

import contextlib
from collections import deque
from collections.abc import Generator
from dataclasses import dataclass, field

from fake_vllm.arguments import ServeArguments
from fake_vllm.engine_client import EngineClient, EngineDeadError
from fake_vllm.log_lines import ProcessLog
from fake_vllm.openai_bodies import Body, iterate_tokens
from fake_vllm.request_load import RequestLoad
from fake_vllm.script import Script


@dataclass(frozen=True)
class Service:
    """What every request needs."""

    script: Script
    arguments: ServeArguments
    engine: EngineClient
    load: RequestLoad
    log: ProcessLog
    requests: deque[Body] = field(default_factory=lambda: deque(maxlen=1000))

    @property
    def names(self) -> tuple[str, ...]:
        """The served model names, in the order of argv."""
        return ("somebody-elses-model",) if self.script.wrong_identity else self.arguments.served_model_names

    @property
    def is_healthy(self) -> bool:
        """What /health tells: that nobody saw the engine end, not that it works."""
        return self.load.is_draining or not self.engine.has_ended

    def generate(self, num_tokens: int, num_prompt_tokens: int) -> Generator[str, None, None]:
        """Yield tokens as the engine makes them, and count them.

        Raises:
            EngineDeadError: the engine ended, or the request was cut off by a shutdown.
        """
        self.engine.begin_request(num_prompt_tokens)
        try:
            for index, token in enumerate(iterate_tokens(num_tokens)):
                if self.load.aborted.wait(None if self.script.health_without_engine else self.script.token_delay_s):
                    raise EngineDeadError
                self.engine.make_token()
                self.load.count(prompt_tokens=0 if index else num_prompt_tokens, generation_tokens=1)
                yield token
        finally:
            with contextlib.suppress(EngineDeadError):
                self.engine.end_request()
