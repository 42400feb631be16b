#!/usr/bin/env python3
"""Make a tiny Llama that any Hugging Face server will load, without downloading anything.

The weights are random (seeded, so that two runs speak the same nonsense) and the tokenizer is a
byte-level BPE trained on the text files given. The model therefore says nothing sensible, but the
path is the real one: a real tokenizer whose tokens split words and UTF-8 in the middle, a real
sampler, a real server.

    make_model.py DIRECTORY TEXT [TEXT …]
"""

import sys
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

SEED = 20
VOCABULARY = 2048
CONTEXT_TOKENS = 2048

CHAT_TEMPLATE = (
    "{% for message in messages %}<|{{ message['role'] }}|>"
    "{% if message['content'] is string %}{{ message['content'] }}"
    "{% else %}{% for part in message['content'] %}{{ part.get('text', '') }}{% endfor %}"
    "{% endif %}"
    "<|end|>{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


def train_tokenizer(texts: list[Path]) -> PreTrainedTokenizerFast:
    """Byte-level BPE over the given files: every byte is reachable, no unknown token exists."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=["<|end|>", "<|system|>", "<|user|>", "<|assistant|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train([str(path) for path in texts], trainer)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<|end|>",
        pad_token="<|end|>",
        model_max_length=CONTEXT_TOKENS,
    )
    fast.chat_template = CHAT_TEMPLATE
    return fast


def random_model(vocabulary: int, end_token: int) -> LlamaForCausalLM:
    """Four heads, two layers: a few megabytes, a token in about a millisecond on one core."""
    torch.manual_seed(SEED)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=vocabulary,
            hidden_size=64,
            intermediate_size=128,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=4,
            max_position_embeddings=CONTEXT_TOKENS,
            bos_token_id=end_token,
            eos_token_id=end_token,
            pad_token_id=end_token,
        )
    )


def main() -> int:
    if len(sys.argv) < 3:
        print(__doc__, file=sys.stderr)
        return 2
    directory, texts = Path(sys.argv[1]), [Path(name) for name in sys.argv[2:]]
    tokenizer = train_tokenizer(texts)
    model = random_model(len(tokenizer), tokenizer.eos_token_id)
    # Sampling with a little heat: greedy decoding of random weights repeats one token for ever.
    model.generation_config.do_sample = True
    model.generation_config.temperature = 0.9
    model.generation_config.max_new_tokens = 48
    model.save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    print(f"{directory}: {len(tokenizer)} tokens, {model.num_parameters():,} parameters")
    return 0


if __name__ == "__main__":
    sys.exit(main())
