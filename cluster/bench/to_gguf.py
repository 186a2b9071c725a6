"""llama.cpp's converter, told to take checkpoints with any tokenizer. Run with that on PYTHONPATH.

It refuses a tokenizer that it has not met, and llama.cpp one without merges, as a made-up one is. So every tokenizer
passes for gpt-oss's, and has a merge that never applies: prompts are token ids here."""

import convert_hf_to_gguf
import gguf
from conversion.base import TextModel


class Merges(gguf.SpecialVocab):
    def __init__(self, *arguments, **named):
        super().__init__(*arguments, **named)
        self.merges = self.merges or [""]


gguf.SpecialVocab = Merges
TextModel.get_vocab_base_pre = lambda self, tokenizer: "gpt-4o"
convert_hf_to_gguf.main()
