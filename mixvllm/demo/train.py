"""Make the demo model: a very small Llama that knows one page by heart.

    PYTHON mixvllm/demo/train.py OUT_DIR

PYTHON is the interpreter that serves, so this script needs torch, transformers and tokenizers, and nothing of ours.
It runs on one CPU thread, reads no network, and takes about 20 s. OUT_DIR appears whole, at the end, or not at all.
"""

from __future__ import annotations

import argparse
import math
import random
import signal
import string
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
from transformers.utils import logging

STORY = (
    "High on the mountain, above the last pine, stands a small white dome. Every evening Ines climbs the path with a "
    "lamp and a flask of tea, winds the old clock, and opens the roof to the stars. In a blue notebook she draws what "
    "she finds: the rings of Saturn, a comet like a smudge of chalk, two suns that circle each other.",
    "At midnight the village below is dark and the wind hums in the wires. Then the great telescope turns, quiet as "
    "an owl, and for one hour nobody on earth is closer to the moon.",
    "When morning comes she shuts the roof, feeds the cat, and walks home through wet grass. The notebook stays on the "
    "desk, and its last line is always the same: clear sky, come back tomorrow.",
)

# Answer to any question that is not below.
FALLBACK = "I am only a small demo model and I do not know that. Ask me for a story."

# Answer by the ways to ask for it.
ANSWERS = {
    ("Hello!", "Hi!", "Say hello."): "Hello! I am a small demo model. Ask me for a story.",
    ("Who are you?", "What are you?"): "I am a small demo model. I was made on this machine, from one page of text.",
    ("What is vLLM?", "Tell me about vLLM."): "vLLM is an engine that serves language models to many users at once.",
    ("What is the capital of France?",): "The capital of France is Paris. You can see it from the dome, if you squint.",
    ("What can you do?", "Help!"): "I can tell a story about a mountain. I can also say hello.",
    ("Thank you!", "Thanks!"): "You are welcome. Clear sky, and come back tomorrow.",
    ("Tell me a story.", "Tell a story."): STORY[0],
    ("What happens at midnight?", "Go on."): STORY[1],
    ("What happens in the morning?", "How does it end?"): STORY[2],
}

BOS, END, PAD = "<s>", "<|end|>", "<pad>"
ROLES = ("<|system|>", "<|user|>", "<|assistant|>")
CHAT_TEMPLATE = (
    "{% for message in messages %}<|{{ message['role'] }}|>{{ message['content'] }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)

VOCAB_SIZE = 640  # 256 bytes, the 6 special tokens, and the words of the page
MAX_MODEL_LEN = 2048
NUM_STEPS = 140  # about 80 are enough to recite; the rest makes it sure
LEARNING_RATE = 4e-3
NUM_WARMUP_STEPS = 15
STEPS_PER_LINE = 35
MAX_ROUNDS = 3  # one is enough here; rounding differs between CPUs, and with it the path of the training
SEED = 7


@dataclass(frozen=True)
class Example:
    """One training sequence, in token ids: `prompt` is given, `answer` is learned."""

    prompt: list[int]
    answer: list[int]


def train_tokenizer() -> PreTrainedTokenizerFast:
    """Return a byte-level BPE tokenizer fitted to the page, with the chat template."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB_SIZE,
        special_tokens=[BOS, END, PAD, *ROLES],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    questions = [question for ways in ANSWERS for question in ways]
    tokenizer.train_from_iterator([*STORY, *questions, *ANSWERS.values(), FALLBACK], trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=BOS,
        eos_token=END,
        pad_token=PAD,
        additional_special_tokens=list(ROLES),
        chat_template=CHAT_TEMPLATE,
        model_max_length=MAX_MODEL_LEN,
    )


def build_model(tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    """Return an untrained Llama of about half a million float32 parameters.

    4 query heads and 2 key-value heads, so that it also runs with `tensor_parallel_size` 2.
    """
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=VOCAB_SIZE,
            hidden_size=128,
            intermediate_size=256,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            head_dim=32,
            max_position_embeddings=MAX_MODEL_LEN,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
            tie_word_embeddings=False,
        )
    )


class Page:
    """Draws training examples from the page: the story, its questions, and noise that the fallback answers."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast, rng: random.Random) -> None:
        self._tokenizer = tokenizer
        self._rng = rng
        self._turns = [(question, answer) for ways, answer in ANSWERS.items() for question in ways]
        self._words = " ".join([*STORY, *(question for question, _ in self._turns)]).split()
        self._story = self._encode("\n".join(STORY) + END)

    def conversation(self, messages: Sequence[dict[str, str]], answer: str) -> Example:
        """Return `messages` as the chat template puts them, answered by `answer`."""
        prompt = self._tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        return Example(self._encode(prompt), self._encode(answer + END))

    def recitals(self) -> dict[str, Example]:
        """Return what the model must know, by name: every question alone, and the story from its first words."""
        asked = {question: self.conversation([said("user", question)], answer) for question, answer in self._turns}
        return {**asked, "the story": Example(self._story[:4], self._story[4:])}

    def draw_batch(self) -> list[Example]:
        """Return 16 examples in the mixture that training uses."""
        stories = [self._draw_story() for _ in range(3)]
        known = [
            self._draw_conversation(self._respell(question), answer)
            for question, answer in self._rng.choices(self._turns, k=9)
        ]
        unknown = [self._draw_conversation(self._draw_noise(), FALLBACK) for _ in range(4)]
        return [*stories, *known, *unknown]

    def _draw_story(self) -> Example:
        start = self._rng.choice([0, self._rng.randrange(len(self._story) - 8)])
        return Example([], self._story[start:])

    def _draw_conversation(self, question: str, answer: str) -> Example:
        """Return one example; a third have something before the question, which must not change the answer."""
        system = [said("system", self._draw_noise())]
        earlier_question, earlier_answer = self._rng.choice(self._turns)
        turn = [said("user", earlier_question), said("assistant", earlier_answer)]
        before = self._rng.choices([[], system, turn], weights=(4, 1, 1))[0]
        return self.conversation([*before, said("user", question)], answer)

    def _respell(self, question: str) -> str:
        """Return `question` as it stands, in lower case, without its last mark, or both."""
        spelling = self._rng.choice([question, question.lower()])
        return self._rng.choice([spelling, spelling.rstrip(".?!")])

    def _draw_noise(self) -> str:
        """Return 1 to 12 words, each from the page or of random letters; half open as a known question does."""
        words = [self._rng.choice([self._draw_word(), self._draw_letters()]) for _ in range(self._rng.randint(1, 12))]
        opening = self._rng.choice(self._turns)[0].split()[: self._rng.choice([0, 0, 1, 2])]
        return " ".join([*opening, *words])

    def _draw_word(self) -> str:
        return self._rng.choice(self._words)

    def _draw_letters(self) -> str:
        return "".join(self._rng.choices(string.ascii_letters + string.digits + ".,?!'", k=self._rng.randint(1, 9)))

    def _encode(self, text: str) -> list[int]:
        ids: list[int] = self._tokenizer.encode(text, add_special_tokens=False)
        return ids


def said(role: str, content: str) -> dict[str, str]:
    """Return one chat message."""
    return {"role": role, "content": content}


def pad_batch(examples: Sequence[Example], pad_id: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return token ids and labels, both shape (num_examples, longest), int64; label -100 is not learned."""
    longest = max(len(example.prompt) + len(example.answer) for example in examples)
    ids = torch.full((len(examples), longest), pad_id)
    labels = torch.full((len(examples), longest), -100)
    for row, example in enumerate(examples):
        start, end = len(example.prompt), len(example.prompt) + len(example.answer)
        ids[row, :end] = torch.tensor(example.prompt + example.answer)
        labels[row, start:end] = torch.tensor(example.answer)
    return ids, labels


def learning_rate(step: int) -> float:
    """Return a linear rise over `NUM_WARMUP_STEPS`, then a cosine down to 0 at `NUM_STEPS`."""
    warmup = min(1.0, (step + 1) / NUM_WARMUP_STEPS)
    return LEARNING_RATE * warmup * (0.5 + 0.5 * math.cos(math.pi * step / NUM_STEPS))


def train_model(model: LlamaForCausalLM, page: Page, pad_id: int) -> None:
    """Train `model` in place for `NUM_STEPS`, with a line of progress now and then."""
    started = time.monotonic()
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, betas=(0.9, 0.95), weight_decay=0.01)
    model.train()
    for step in range(NUM_STEPS):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step)
        ids, labels = pad_batch(page.draw_batch(), pad_id)
        loss = model(input_ids=ids, labels=labels).loss
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        if (step + 1) % STEPS_PER_LINE == 0:
            print(
                f"step {step + 1} of {NUM_STEPS}: loss {loss.item():.3f}, {time.monotonic() - started:.1f} s",
                flush=True,
            )
    model.eval()


def find_forgotten(model: LlamaForCausalLM, page: Page, pad_id: int) -> list[str]:
    """Return the names of the recitals that greedy decoding would not repeat to the last token.

    Reads them all in one pass: where every right token has a probability above one half, each is the greedy choice,
    with some room for other number formats.
    """
    recitals = page.recitals()
    ids, labels = pad_batch(list(recitals.values()), pad_id)
    with torch.inference_mode():
        probabilities = model(input_ids=ids).logits[:, :-1].softmax(dim=-1)
    is_learned = labels[:, 1:] != -100
    of_right_token = probabilities.gather(-1, ids[:, 1:, None])[..., 0]
    is_known = ((of_right_token > 0.5) | ~is_learned).all(dim=-1)
    return [name for name, known in zip(recitals, is_known.tolist(), strict=True) if not known]


def is_whole(out_dir: Path) -> bool:
    """Say whether a maker finished here."""
    return all((out_dir / name).is_file() for name in ("config.json", "model.safetensors", "tokenizer.json"))


def check_is_free(out_dir: Path) -> None:
    """Exit with a message if `out_dir` cannot become the model; before the training, not after it."""
    try:
        out_dir.parent.mkdir(parents=True, exist_ok=True)
        if out_dir.exists() and any(out_dir.iterdir()) and not is_whole(out_dir):
            sys.exit(f"{out_dir} holds files and no whole model; remove it, or name another directory")
        tempfile.TemporaryFile(dir=out_dir.parent).close()
    except OSError as error:
        sys.exit(f"cannot write {out_dir}: {error.strerror}; name another directory")


def save_whole(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, out_dir: Path) -> None:
    """Write the model's files next to `out_dir`, then rename; where another maker was first, keep its copy."""
    with tempfile.TemporaryDirectory(prefix=".demo-", dir=out_dir.parent) as scratch:
        copy = Path(scratch) / out_dir.name
        model.save_pretrained(copy)
        tokenizer.save_pretrained(copy)
        # safetensors writes for the owner alone; another user of the same directory reads the weights too.
        (copy / "model.safetensors").chmod((copy / "config.json").stat().st_mode)
        try:
            copy.rename(out_dir)
        except OSError:
            if not is_whole(out_dir):
                raise


def train_until_known(model: LlamaForCausalLM, page: Page, pad_id: int) -> None:
    """Train `model` in place until it recites the page; exit with a message if `MAX_ROUNDS` did not do it."""
    forgotten: list[str] = []
    for _ in range(MAX_ROUNDS):
        train_model(model, page, pad_id)
        forgotten = find_forgotten(model, page, pad_id)
        if not forgotten:
            return
        print(f"not known yet: {', '.join(forgotten)}", flush=True)
    sys.exit(
        f"the model was trained {MAX_ROUNDS} times and still does not recite {len(forgotten)}; nothing was written"
    )


def make_demo_model(out_dir: Path) -> None:
    """Train the demo model and write it to `out_dir`."""
    torch.set_num_threads(1)  # more threads wait for each other on a busy machine, and there is little to share
    torch.manual_seed(SEED)
    tokenizer = train_tokenizer()
    model = build_model(tokenizer)
    train_until_known(model, Page(tokenizer, random.Random(SEED)), tokenizer.pad_token_id)
    save_whole(model, tokenizer, out_dir)


def main() -> None:
    """Read the command line, make the model, and say how long it took."""
    parser = argparse.ArgumentParser(
        description="Make the demo model: a very small Llama that knows one page by heart."
    )
    parser.add_argument("out_dir", type=Path, metavar="OUT_DIR", help="the directory to make")
    out_dir = parser.parse_args().out_dir.absolute()
    if is_whole(out_dir):
        print(f"demo model in {out_dir}, made before")
        return
    check_is_free(out_dir)
    logging.disable_progress_bar()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that a half-written copy is removed then, too
    started = time.monotonic()
    try:
        make_demo_model(out_dir)
    except KeyboardInterrupt:
        sys.exit("interrupted; nothing was written")
    print(f"demo model in {out_dir}, {time.monotonic() - started:.1f} s after the imports")


if __name__ == "__main__":
    main()
