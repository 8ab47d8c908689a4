"""Count what MustDrop leaves LLaVA-1.5-7B to do, from how many vision tokens it leaves.

    python -m tools.count_vlm [--text 25] [--into onedpiece/retokenize/README.md]

No weights are needed: operations and cache follow from the sizes of Vicuna-7B and the numbers of tokens. The
published numbers of tokens are means over the layers, and every layer is counted at the mean: what goes with
the square of a length is under two percent of a layer's operations.
"""

import argparse
from pathlib import Path

from transformers import LlamaConfig

from onedpiece.retokenize.vlm.cost import cache_bytes, layer_flops
from tools.markdown import replace_part, table

VICUNA = LlamaConfig(hidden_size=4096, intermediate_size=11008, num_hidden_layers=32, num_attention_heads=32)
WHOLE = 576  # patches of CLIP ViT-L/14 at 336 px
LEFT = (576, 192, 128, 64, 45)  # the authors' settings; 92.2 % compression leaves 45
PUBLISHED = {45: "-88.5%"}  # arXiv 2411.10803, abstract


def line(vision: int, text: int) -> list[str]:
    """Return the cells of one setting: `vision` tokens a layer beside `text` tokens."""
    layers = VICUNA.num_hidden_layers
    flops, whole = (layers * layer_flops(VICUNA, count + text) for count in (vision, WHOLE))
    cached, all_cached = (layers * cache_bytes(VICUNA, count + text, 2) for count in (vision, WHOLE))
    return [
        f"{vision} (-{1 - vision / WHOLE:.1%})",
        f"{flops / 1e12:.2f}",
        f"-{1 - flops / whole:.1%}",
        PUBLISHED.get(vision, "–"),
        f"{cached / 2**20:.0f}",
        f"-{1 - cached / all_cached:.1%}",
    ]


def counted(text: int) -> str:
    """Return the table for prompts of `text` tokens beside the picture."""
    header = ["vision tokens a layer", "TFLOPs", "less", "published", "cache, MiB (bf16)", "less"]
    note = f"Vicuna-7B's 32 layers, prefill of one picture and {text} tokens of text."
    return f"{table(header, [line(vision, text) for vision in LEFT])}\n\n{note}"


def main() -> None:
    """Print the table, and write it where it stands."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--text", type=int, default=25, help="tokens of text beside the picture")
    parser.add_argument("--into", type=Path, help="the README whose part `vlm` to fill")
    given = parser.parse_args()
    print(counted(given.text))
    if given.into:
        replace_part(given.into, "vlm", counted(given.text))


if __name__ == "__main__":
    main()
