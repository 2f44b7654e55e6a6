"""Which files of a repository are one usable set: the file lists of well-known repositories.

The lists are those that the repositories had (their pages on the Hub); sizes do not matter here.
"""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from downloader.artifact import Artifact
from downloader.errors import SourceError
from downloader.sources._formats import Format, choose, weights_of

TOKENIZER = ["special_tokens_map.json", "tokenizer.json", "tokenizer_config.json"]


def parts(pattern: str, count: int) -> list[str]:
    """Return the names of the parts of one file."""
    return [pattern.format(f"{number:05}-of-{count:05}") for number in range(1, count + 1)]


BGE = [
    ".gitattributes",
    "1_Pooling/config.json",
    "README.md",
    "config.json",
    "config_sentence_transformers.json",
    "model.safetensors",
    "modules.json",
    "onnx/model.onnx",
    "pytorch_model.bin",
    "sentence_bert_config.json",
    "vocab.txt",
    *TOKENIZER,
]
GPT2 = [
    "64-8bits.tflite",
    "64-fp16.tflite",
    "64.tflite",
    "README.md",
    "config.json",
    "flax_model.msgpack",
    "generation_config.json",
    "merges.txt",
    "model.safetensors",
    "onnx/config.json",
    "onnx/decoder_model.onnx",
    "onnx/decoder_model_merged.onnx",
    "onnx/decoder_with_past_model.onnx",
    "onnx/merges.txt",
    "onnx/tokenizer.json",
    "pytorch_model.bin",
    "rust_model.ot",
    "tf_model.h5",
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.json",
]
LLAMA = [
    "LICENSE",
    "README.md",
    "config.json",
    "generation_config.json",
    *parts("model-{}.safetensors", 4),
    "model.safetensors.index.json",
    "original/consolidated.00.pth",
    "original/params.json",
    "original/tokenizer.model",
    *TOKENIZER,
]
LLAMA_2 = [
    "README.md",
    "config.json",
    *parts("model-{}.safetensors", 2),
    "model.safetensors.index.json",
    *parts("pytorch_model-{}.bin", 2),
    "pytorch_model.bin.index.json",
    "tokenizer.model",
    *TOKENIZER,
]
MISTRAL = [
    "README.md",
    "config.json",
    "consolidated.safetensors",
    *parts("model-{}.safetensors", 3),
    "model.safetensors.index.json",
    "params.json",
    "tokenizer.model",
    "tokenizer.model.v3",
    *TOKENIZER,
]
THEBLOKE = [
    "README.md",
    "config.json",
    *(
        f"llama-2-7b.{each}.gguf"
        for each in ("Q2_K", "Q3_K_L", "Q3_K_M", "Q3_K_S", "Q4_0", "Q4_K_M", "Q4_K_S", "Q8_0")
    ),
]
BARTOWSKI = [
    "README.md",
    "Meta-Llama-3.1-70B-Instruct-IQ4_XS.gguf",
    "Meta-Llama-3.1-70B-Instruct-Q4_K_M.gguf",
    "Meta-Llama-3.1-70B-Instruct-Q4_0_4_4.gguf",
    *parts("Meta-Llama-3.1-70B-Instruct-Q8_0/Meta-Llama-3.1-70B-Instruct-Q8_0-{}.gguf", 2),
    "Meta-Llama-3.1-70B-Instruct.imatrix",
]
QWEN_GGUF = [
    "LICENSE",
    "README.md",
    *parts("qwen2.5-7b-instruct-fp16-{}.gguf", 4),
    "qwen2.5-7b-instruct-q3_k_m.gguf",
    *parts("qwen2.5-7b-instruct-q4_k_m-{}.gguf", 2),
]
GEMMA_GGUF = [
    "README.md",
    "gemma-3-4b-it-Q4_K_M.gguf",
    "gemma-3-4b-it-Q8_0.gguf",
    "gemma-3-4b-it-f16.gguf",
    "mmproj-model-f16.gguf",
]
UNSLOTH = [
    "README.md",
    "config.json",
    "imatrix_unsloth.dat",
    "mmproj-BF16.gguf",
    "mmproj-F16.gguf",
    "mmproj-F32.gguf",
    *parts("BF16/Qwen3-VL-30B-A3B-BF16-{}.gguf", 2),
    "Qwen3-VL-30B-A3B-Q4_K_M.gguf",
    "Qwen3-VL-30B-A3B-UD-Q4_K_XL.gguf",
]
SDXL = [
    "README.md",
    "model_index.json",
    "scheduler/scheduler_config.json",
    "sd_xl_base_1.0.safetensors",
    "sd_xl_base_1.0_0.9vae.safetensors",
    "text_encoder/config.json",
    "text_encoder/flax_model.msgpack",
    "text_encoder/model.fp16.safetensors",
    "text_encoder/model.onnx",
    "text_encoder/model.safetensors",
    "text_encoder/openvino_model.bin",
    "text_encoder/openvino_model.xml",
    "tokenizer/merges.txt",
    "tokenizer/vocab.json",
    "unet/config.json",
    "unet/diffusion_pytorch_model.fp16.safetensors",
    "unet/diffusion_pytorch_model.safetensors",
    "unet/model.onnx",
    "unet/model.onnx_data",
    "vae/config.json",
    "vae/diffusion_pytorch_model.fp16.safetensors",
    "vae/diffusion_pytorch_model.safetensors",
    "vae_decoder/config.json",
    "vae_decoder/model.onnx",
]
SD_15 = [
    "README.md",
    "feature_extractor/preprocessor_config.json",
    "model_index.json",
    "safety_checker/config.json",
    "safety_checker/model.fp16.safetensors",
    "safety_checker/model.safetensors",
    "safety_checker/pytorch_model.bin",
    "scheduler/scheduler_config.json",
    "unet/config.json",
    "unet/diffusion_pytorch_model.bin",
    "unet/diffusion_pytorch_model.fp16.bin",
    "unet/diffusion_pytorch_model.fp16.safetensors",
    "unet/diffusion_pytorch_model.non_ema.bin",
    "unet/diffusion_pytorch_model.non_ema.safetensors",
    "unet/diffusion_pytorch_model.safetensors",
    "v1-5-pruned-emaonly.ckpt",
    "v1-5-pruned-emaonly.safetensors",
    "v1-inference.yaml",
]
WHISPER = [
    "README.md",
    "config.json",
    "flax_model.msgpack",
    *parts("model.fp32-{}.safetensors", 2),
    "model.safetensors",
    "model.safetensors.index.fp32.json",
    "preprocessor_config.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.fp32.json",
    *parts("pytorch_model.fp32-{}.bin", 2),
    "tokenizer.json",
    "vocab.json",
]
MINILM = [
    "1_Pooling/config.json",
    "README.md",
    "config.json",
    "model.safetensors",
    "modules.json",
    "onnx/model.onnx",
    "onnx/model_O1.onnx",
    "onnx/model_O4.onnx",
    "onnx/model_qint8_arm64.onnx",
    "onnx/model_quint8_avx2.onnx",
    "openvino/openvino_model.bin",
    "openvino/openvino_model.xml",
    "openvino/openvino_model_qint8_quantized.bin",
    "openvino/openvino_model_qint8_quantized.xml",
    "pytorch_model.bin",
    "rust_model.ot",
    "tf_model.h5",
    "tokenizer.json",
    "train_script.py",
    "vocab.txt",
]
BERT = [
    "LICENSE",
    "README.md",
    "config.json",
    "coreml/fill-mask/float32_model.mlpackage/Data/com.apple.CoreML/model.mlmodel",
    "coreml/fill-mask/float32_model.mlpackage/Data/com.apple.CoreML/weights/weight.bin",
    "coreml/fill-mask/float32_model.mlpackage/Manifest.json",
    "flax_model.msgpack",
    "model.onnx",
    "model.safetensors",
    "pytorch_model.bin",
    "rust_model.ot",
    "tf_model.h5",
    "tokenizer.json",
    "vocab.txt",
]
XENOVA = [
    "README.md",
    "config.json",
    *(
        f"onnx/{each}"
        for name in ("encoder_model", "decoder_model_merged")
        for each in (
            f"{name}.onnx",
            f"{name}_fp16.onnx",
            f"{name}_q4.onnx",
            f"{name}_q4f16.onnx",
            f"{name}_quantized.onnx",
        )
    ),
    "preprocessor_config.json",
    "quantize_config.json",
    "tokenizer.json",
]
FLUX = [
    "README.md",
    "ae.safetensors",
    "dev_grid.jpg",
    "flux1-dev.safetensors",
    "model_index.json",
    "scheduler/scheduler_config.json",
    "text_encoder/config.json",
    "text_encoder/model.safetensors",
    "text_encoder_2/config.json",
    *parts("text_encoder_2/model-{}.safetensors", 2),
    "text_encoder_2/model.safetensors.index.json",
    "tokenizer/vocab.json",
    "transformer/config.json",
    *parts("transformer/diffusion_pytorch_model-{}.safetensors", 3),
    "transformer/diffusion_pytorch_model.safetensors.index.json",
    "vae/config.json",
    "vae/diffusion_pytorch_model.safetensors",
]
PHI_3_ONNX = [
    "LICENSE",
    "README.md",
    "config.json",
    *(
        f"{folder}/{name}"
        for folder in (
            "cpu_and_mobile/cpu-int4-rtn-block-32",
            "cpu_and_mobile/cpu-int4-rtn-block-32-acc-level-4",
            "cuda/cuda-fp16",
        )
        for name in ("genai_config.json", "phi3-mini.onnx", "phi3-mini.onnx.data", "tokenizer.json")
    ),
]
DEEPSEEK = [
    "LICENSE",
    "config.json",
    "configuration_deepseek.py",
    "figures/benchmark.jpg",
    *parts("model-{}.safetensors", 163),
    "model.safetensors.index.json",
    "modeling_deepseek.py",
    "tokenizer.json",
]
LORA = ["README.md", "adapter_config.json", "adapter_model.bin", "adapter_model.safetensors"]
CHECKPOINT = [
    "config.json",
    "model.safetensors",
    "optimizer.pt",
    "rng_state_0.pth",
    "scheduler.pt",
    "trainer_state.json",
    "training_args.bin",
]


def chosen(paths: list[str], wanted: Format, variant: str = "") -> set[str]:
    """Return the paths that are chosen of these."""
    files = [Artifact(path=path, size=1) for path in paths]
    return {each.path for each in choose(files, wanted, variant)}


def no_weights(paths: list[str], *folders: str) -> set[str]:
    """Return the files that are no weights, without those in these folders."""
    return {
        path for path in paths if weights_of(path) is None and not path.startswith(tuple(folders))
    }


@pytest.mark.parametrize(
    ("paths", "wanted", "variant", "weights", "beside"),
    [
        pytest.param(BGE, "safetensors", "", ["model.safetensors"], [], id="bge"),
        pytest.param(BGE, "bin", "", ["pytorch_model.bin"], [], id="bge bin"),
        pytest.param(BGE, "onnx", "", ["onnx/model.onnx"], [], id="bge onnx"),
        pytest.param(GPT2, "safetensors", "", ["model.safetensors"], ["onnx/"], id="gpt2"),
        pytest.param(GPT2, "tensorflow", "", ["tf_model.h5"], ["onnx/"], id="gpt2 tensorflow"),
        pytest.param(GPT2, "flax", "", ["flax_model.msgpack"], ["onnx/"], id="gpt2 flax"),
        pytest.param(
            LLAMA,
            "safetensors",
            "",
            [*parts("model-{}.safetensors", 4), "model.safetensors.index.json"],
            ["original/"],
            id="llama 3.1",
        ),
        pytest.param(
            LLAMA_2,
            "bin",
            "",
            [*parts("pytorch_model-{}.bin", 2), "pytorch_model.bin.index.json"],
            [],
            id="llama 2 bin",
        ),
        pytest.param(
            MISTRAL,
            "safetensors",
            "",
            [*parts("model-{}.safetensors", 3), "model.safetensors.index.json"],
            [],
            id="mistral",
        ),
        pytest.param(
            THEBLOKE, "gguf", "Q4_K_M", ["llama-2-7b.Q4_K_M.gguf"], [], id="one of many gguf"
        ),
        pytest.param(
            BARTOWSKI,
            "gguf",
            "q8_0",
            parts("Meta-Llama-3.1-70B-Instruct-Q8_0/Meta-Llama-3.1-70B-Instruct-Q8_0-{}.gguf", 2),
            [],
            id="gguf in a folder and in parts",
        ),
        pytest.param(
            BARTOWSKI,
            "gguf",
            "Q4_0_4_4",
            ["Meta-Llama-3.1-70B-Instruct-Q4_0_4_4.gguf"],
            [],
            id="a long quantization",
        ),
        pytest.param(
            QWEN_GGUF,
            "gguf",
            "Q4_K_M",
            parts("qwen2.5-7b-instruct-q4_k_m-{}.gguf", 2),
            [],
            id="gguf in lower case",
        ),
        pytest.param(
            GEMMA_GGUF,
            "gguf",
            "Q8_0",
            ["gemma-3-4b-it-Q8_0.gguf", "mmproj-model-f16.gguf"],
            [],
            id="gguf with a projector",
        ),
        pytest.param(
            UNSLOTH,
            "gguf",
            "UD-Q4_K_XL",
            ["Qwen3-VL-30B-A3B-UD-Q4_K_XL.gguf", "mmproj-F16.gguf"],
            [],
            id="the best of several projectors",
        ),
        pytest.param(
            UNSLOTH,
            "gguf",
            "BF16",
            [*parts("BF16/Qwen3-VL-30B-A3B-BF16-{}.gguf", 2), "mmproj-BF16.gguf"],
            [],
            id="the projector of the same precision",
        ),
        pytest.param(
            SDXL,
            "safetensors",
            "",
            [
                "text_encoder/model.safetensors",
                "unet/diffusion_pytorch_model.safetensors",
                "vae/diffusion_pytorch_model.safetensors",
            ],
            ["vae_decoder/"],
            id="sdxl",
        ),
        pytest.param(
            SDXL,
            "safetensors",
            "fp16",
            [
                "text_encoder/model.fp16.safetensors",
                "unet/diffusion_pytorch_model.fp16.safetensors",
                "vae/diffusion_pytorch_model.fp16.safetensors",
            ],
            ["vae_decoder/"],
            id="sdxl fp16",
        ),
        pytest.param(
            SDXL,
            "onnx",
            "",
            [
                "text_encoder/model.onnx",
                "unet/model.onnx",
                "unet/model.onnx_data",
                "vae_decoder/model.onnx",
            ],
            ["vae/"],
            id="sdxl onnx",
        ),
        pytest.param(
            SD_15,
            "safetensors",
            "",
            ["safety_checker/model.safetensors", "unet/diffusion_pytorch_model.safetensors"],
            [],
            id="sd 1.5",
        ),
        pytest.param(
            SD_15,
            "bin",
            "fp16",
            ["safety_checker/pytorch_model.bin", "unet/diffusion_pytorch_model.fp16.bin"],
            [],
            id="a part without the variant has its usual one",
        ),
        pytest.param(WHISPER, "safetensors", "", ["model.safetensors"], [], id="whisper"),
        pytest.param(
            WHISPER,
            "safetensors",
            "fp32",
            [*parts("model.fp32-{}.safetensors", 2), "model.safetensors.index.fp32.json"],
            [],
            id="whisper fp32",
        ),
        pytest.param(MINILM, "safetensors", "", ["model.safetensors"], [], id="minilm"),
        pytest.param(
            MINILM, "onnx", "qint8_arm64", ["onnx/model_qint8_arm64.onnx"], [], id="minilm onnx"
        ),
        pytest.param(
            MINILM,
            "openvino",
            "",
            ["openvino/openvino_model.bin", "openvino/openvino_model.xml"],
            [],
            id="minilm openvino",
        ),
        pytest.param(BERT, "safetensors", "", ["model.safetensors"], [], id="bert"),
        pytest.param(
            BERT,
            "coreml",
            "",
            [path for path in BERT if path.startswith("coreml/")],
            [],
            id="bert coreml",
        ),
        pytest.param(
            XENOVA,
            "onnx",
            "q4f16",
            ["onnx/decoder_model_merged_q4f16.onnx", "onnx/encoder_model_q4f16.onnx"],
            [],
            id="transformers.js",
        ),
        pytest.param(
            FLUX,
            "safetensors",
            "",
            [
                "text_encoder/model.safetensors",
                *parts("text_encoder_2/model-{}.safetensors", 2),
                "text_encoder_2/model.safetensors.index.json",
                *parts("transformer/diffusion_pytorch_model-{}.safetensors", 3),
                "transformer/diffusion_pytorch_model.safetensors.index.json",
                "vae/diffusion_pytorch_model.safetensors",
            ],
            [],
            id="flux",
        ),
        pytest.param(
            PHI_3_ONNX,
            "onnx",
            "cuda-fp16",
            ["cuda/cuda-fp16/phi3-mini.onnx", "cuda/cuda-fp16/phi3-mini.onnx.data"],
            ["cpu_and_mobile/"],
            id="a folder is the variant",
        ),
        pytest.param(
            DEEPSEEK,
            "safetensors",
            "",
            [*parts("model-{}.safetensors", 163), "model.safetensors.index.json"],
            [],
            id="deepseek",
        ),
        pytest.param(LORA, "safetensors", "", ["adapter_model.safetensors"], [], id="adapter"),
        pytest.param(CHECKPOINT, "safetensors", "", ["model.safetensors"], [], id="checkpoint"),
    ],
)
def test_one_usable_set_is_chosen(
    paths: list[str], wanted: Format, variant: str, weights: list[str], beside: list[str]
) -> None:
    """The weights of one format and variant, and every file that is not beside other weights."""
    assert chosen(paths, wanted, variant) == {*weights, *no_weights(paths, *beside)}


@pytest.mark.parametrize(
    ("paths", "wanted", "variant", "what", "listed"),
    [
        (LLAMA, "gguf", "", "no weights in the format gguf", ["safetensors", "bin"]),
        (THEBLOKE, "gguf", "", "these weights 8 times", ["Q2_K (1 B)", "Q4_K_M", "Q8_0"]),
        (THEBLOKE, "gguf", "Q4_K", "no variant Q4_K", ["Did you mean Q4_K_", "Q4_K_M", "Q8_0"]),
        (
            [*parts("model-{}.safetensors", 2), *parts("model-{}.safetensors", 3)],
            "safetensors",
            "",
            "these weights 2 times",
            ["in 2 parts", "in 3 parts"],
        ),
        (
            ["m-Q8_0-00001-of-00002.gguf", "m-Q8_0-00007-of-00002.gguf"],
            "gguf",
            "",
            "2 of the 2 parts of m-Q8_0-00001-of-00002.gguf",
            ["revision"],
        ),
        (
            ["a/m-Q8_0.gguf", "m-Q8_0.gguf"],
            "gguf",
            "",
            "several models of this variant: a/m, m",
            ["include"],
        ),
        (["mmproj-F16.gguf"], "gguf", "", "no model in the format gguf, only a projector", [""]),
        (SDXL, "safetensors", "fp8", "no variant fp8", ["fp16", "the usual one"]),
        (PHI_3_ONNX, "onnx", "", "these weights 3 times", ["cuda-fp16", "cpu-int4-rtn-block-32"]),
        (
            ["a-Q8_0.gguf", "b-Q8_0.gguf"],
            "gguf",
            "Q8_0",
            "several models of this variant: a, b",
            ["include"],
        ),
        (
            parts("model-{}.safetensors", 3)[:2],
            "safetensors",
            "",
            "2 of the 3 parts of model-00001-of-00003.safetensors",
            ["revision"],
        ),
        (
            ["m/model_fp16.onnx", "m/model_q4.onnx"],
            "onnx",
            "",
            "these weights 2 times",
            ["fp16", "q4"],
        ),
    ],
)
def test_what_is_ambiguous_or_not_there_lists_what_there_is(
    paths: list[str], wanted: Format, variant: str, what: str, listed: list[str]
) -> None:
    """Nothing is guessed; the error has what to write."""
    with pytest.raises(SourceError, match=what) as caught:
        chosen(paths, wanted, variant)
    assert all(each in caught.value.hint for each in listed)


def test_one_variant_alone_needs_no_name() -> None:
    """Weights that are there once are meant, whatever their precision."""
    assert chosen(["config.json", "m-Q4_0.gguf"], "gguf") == {"config.json", "m-Q4_0.gguf"}
    assert chosen(["model.fp16.safetensors"], "safetensors") == {"model.fp16.safetensors"}


def test_weights_once_as_a_whole_and_once_in_parts_are_taken_once() -> None:
    """As a whole: that is what libraries look for first."""
    paths = [
        "model.safetensors",
        *parts("model-{}.safetensors", 2),
        "model.safetensors.index.json",
    ]
    assert chosen(paths, "safetensors") == {"model.safetensors"}


NAMES = [
    "config.json",
    "model.safetensors",
    "model.fp16.safetensors",
    "model.safetensors.index.json",
    *parts("model-{}.safetensors", 2),
    *parts("model-{}.safetensors", 3),
    "a/model.safetensors",
    "b/model.safetensors",
    "m-Q4_K_M.gguf",
    "a/m-Q4_K_M.gguf",
    *parts("m-Q4_K_M-{}.gguf", 2),
    "m-Q8_0.gguf",
    "mmproj-F16.gguf",
    "onnx/model.onnx",
    "onnx/model.onnx_data",
    "onnx/config.json",
]


@given(
    paths=st.lists(st.sampled_from(NAMES), unique=True),
    wanted=st.sampled_from(["safetensors", "gguf", "onnx"]),
    variant=st.sampled_from(["", "fp16", "Q4_K_M", "a"]),
)
def test_a_choice_is_one_whole_set_or_an_error(
    paths: list[str], wanted: Format, variant: str
) -> None:
    """Never no weights, an index alone, one place twice, or a part without the others."""
    try:
        found = [at for path in chosen(paths, wanted, variant) if (at := weights_of(path))]
    except SourceError:
        return
    weights = [at for at in found if not at.is_index and at.stem != "mmproj"]
    assert weights
    assert {at.format for at in found} == {wanted}
    for at in weights:
        same = [each for each in weights if (each.folder, each.stem) == (at.folder, at.stem)]
        if wanted != "onnx":  # a file of data lies beside its model
            assert len(same) == max(at.parts, 1)
        assert len({each.variant for each in same}) == 1
