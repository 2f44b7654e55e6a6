"""Choose one usable set of a repository's files: the weights in one format and one variant.

A repository on a hub holds the same weights several times: for other frameworks, in other
precisions, and as the original release. Who loads them needs one set, with all its parts, the
tokenizer and the configuration. What a file is, its name says, by the conventions of transformers,
diffusers (`model.fp16-00001-of-00002.safetensors`), llama.cpp (`NAME-Q4_K_M-00001-of-00002.gguf`,
`mmproj-…`) and transformers.js (`onnx/model_q4.onnx`).
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Literal, NamedTuple, get_args

from downloader.artifact import Artifact, bytes_text
from downloader.errors import SourceError

Format = Literal[
    "safetensors", "gguf", "bin", "onnx", "openvino", "tensorflow", "flax", "tflite", "coreml"
]

FORMATS: tuple[Format, ...] = get_args(Format)

_SUFFIXES: dict[str, Format] = {
    ".safetensors": "safetensors",
    ".gguf": "gguf",
    ".bin": "bin",
    ".pt": "bin",
    ".pth": "bin",
    ".ckpt": "bin",
    ".onnx": "onnx",
    ".h5": "tensorflow",
    ".msgpack": "flax",
    ".tflite": "tflite",
    ".mlmodel": "coreml",
}
_UNUSED_SUFFIXES = (".ot", ".imatrix", ".pkl", ".nemo", ".llamafile")
"""Weights of programs for which there is no format here, and what only training reads."""
_TRAINING = re.compile(r"(optimizer|scheduler|scaler|training_args|rng_state\w*)\.(pt|pth|bin)\Z")
_INDEX = re.compile(r"(.+)\.(safetensors|bin|h5|msgpack)\.index(?:\.(\w+))?\.json\Z")
_PART = re.compile(r"(.+?)[-_](\d{5})-of-(\d{5})(\.\w+)?\Z")
_USUAL = (
    "model",
    "pytorch_model",
    "diffusion_pytorch_model",
    "adapter_model",
    "open_clip_model",
    "open_clip_pytorch_model",
    "flax_model",
    "diffusion_flax_model",
    "tf_model",
)
"""How the libraries call the file that they load. Only of these a further word is a variant."""
_ONNX_VARIANT = re.compile(
    r"(?i)(.+?)_(fp16|bf16|fp32|q8|q4|q4f16|bnb4|int8|uint8|quantized|O[1-4]|q?u?int8_\w+)\Z"
)
_ONNX_DATA = re.compile(r"(.+)\.onnx[._]data(?:_\d+)?\Z")
_QUANT = re.compile(
    r"(?i)(?:(.*?)[-._])?((?:UD-)?(?:I?Q|TQ)\d(?:_[A-Z0-9]+)*|(?:BF|FP?)16|FP?32|MXFP4(?:_MOE)?)\Z"
)
_BEST_MMPROJ = ("f16", "bf16", "fp16", "f32")
_MOST_LISTED = 30
PIPELINE, MODULES = "model_index.json", "modules.json"
"""Of diffusers and sentence-transformers: the folders beside it are parts of one model."""


class Weights(NamedTuple):
    """What the name of a file of weights says.

    Attributes:
        format: Of the file; empty if there is none for it here.
        folder: Where it is.
        stem: What its other variants and parts share with it.
        variant: The precision or quantization, in lower case; empty for the usual one.
        part: Which part of a divided file it is, counted from 1; 0 if it is whole.
        parts: How many parts there are; 0 if it is whole.
        is_index: Whether it lists the parts, and is no part itself.
    """

    format: str
    folder: str
    stem: str
    variant: str = ""
    part: int = 0
    parts: int = 0
    is_index: bool = False


def weights_of(path: str) -> Weights | None:
    """Return what a file of weights is; None for any other file."""
    folder, _, name = path.rpartition("/")
    package, is_package, _ = path.partition(".mlpackage/")
    suffix = next((each for each in _SUFFIXES if name.endswith(each)), "")
    if found := _INDEX.fullmatch(name):
        kind = _SUFFIXES[f".{found[2]}"]
        return Weights(kind, folder, found[1], (found[3] or "").lower(), is_index=True)
    if is_package:
        return Weights("coreml", package, name)
    if name.endswith(_UNUSED_SUFFIXES) or name.startswith("imatrix") or _TRAINING.fullmatch(name):
        return Weights("", folder, name)
    if name.startswith("openvino_") and name.endswith((".xml", ".bin")):
        return _whole("openvino", folder, name[:-4])
    if found := _ONNX_DATA.fullmatch(name):
        return _whole("onnx", folder, found[1])
    return _whole(_SUFFIXES[suffix], folder, name.removesuffix(suffix)) if suffix else None


def _whole(kind: Format, folder: str, stem: str) -> Weights:
    """Return what a name without its suffix says."""
    part = parts = 0
    if found := _PART.fullmatch(stem):
        stem, part, parts = f"{found[1]}{found[4] or ''}", int(found[2]), int(found[3])
    variant = ""
    if kind == "gguf":
        found = _QUANT.fullmatch(stem)
    elif kind in ("onnx", "openvino"):
        found = _ONNX_VARIANT.fullmatch(stem)
    else:
        usual, dot, word = stem.partition(".")
        found = None
        if dot and usual in _USUAL:
            stem, variant = usual, word
    if found:
        stem, variant = found[1] or "", found[2]
    return Weights(kind, folder, stem, variant.lower(), part, parts)


def choose(files: Sequence[Artifact], wanted: Format, variant: str = "") -> tuple[Artifact, ...]:
    """Return the files of one format and variant, with everything that is no weights.

    Args:
        files: All files of the repository that include and exclude want.
        wanted: The format.
        variant: A precision, a quantization, or the folder that holds one; empty for the usual one.

    Raises:
        SourceError: There is none, or several that might be meant, or a part is missing; lists what
            there is.
    """
    known = {each.path: weights_of(each.path) for each in files}
    usable = [each for each in files if not f"/{each.path}".startswith("/original/")]
    found = [(each, at) for each in usable if (at := known[each.path]) and at.format == wanted]
    if not any(not at.is_index for _, at in found):
        raise SourceError(
            f"The repository has no weights in the format {wanted}.",
            hint=_listed(
                "It has",
                _sizes(
                    (at.format, each) for each in files if (at := known[each.path]) and at.format
                ),
            ),
        )
    names = {each.path for each in files}
    found = _without_copies(found, has_pipeline=PIPELINE in names)
    if wanted == "gguf":
        chosen = _of_quantization(found, variant)
    else:
        chosen = _of_variant(found, variant, has_parts=bool(names & {PIPELINE, MODULES}))
    if all(at.is_index for at in chosen.values()):
        raise _no_such(found, variant or "that is usual")
    beside = _Beside(
        {at.folder for at in chosen.values()},
        {at.folder for each in files if (at := known[each.path])},
    )
    kept = [
        each
        for each in usable
        if each.path in chosen or (known[each.path] is None and not beside.others(each.path))
    ]
    return tuple(kept)


class _Beside:
    """Tells files that lie with weights that are left out.

    Args:
        chosen: The folders of the weights that are chosen.
        folders: Those of all weights.
    """

    def __init__(self, chosen: set[str], folders: set[str]) -> None:
        self._others = folders - chosen - {""}
        self._above = {above for each in chosen for above in _folders_above(f"{each}/")}

    def others(self, path: str) -> bool:
        """Whether the nearest folder of weights above it has none that are chosen."""
        nearest = next((each for each in _folders_above(path) if each in self._others), None)
        return nearest is not None and nearest not in self._above


def _folders_above(path: str) -> Iterator[str]:
    """Yield the folders that a path is in, the nearest first."""
    while "/" in path:
        path = path.rpartition("/")[0]
        yield path


Found = list[tuple[Artifact, Weights]]


def _without_copies(found: Found, *, has_pipeline: bool) -> Found:
    """Leave out one-file copies: beside a diffusers pipeline, and beside what libraries load."""
    if has_pipeline and any(at.folder for _, at in found):
        found = [(each, at) for each, at in found if at.folder]
    usual = {at.folder for _, at in found if at.stem in _USUAL}
    return [(each, at) for each, at in found if at.folder not in usual or at.stem in _USUAL]


def _of_variant(found: Found, variant: str, *, has_parts: bool) -> dict[str, Weights]:
    """Return which weights are of a variant, by path.

    Each part of a model may have it or not: then its usual one is taken, as diffusers does.
    """
    asked = _plain(variant)
    inside = [one for one in found if asked and asked in map(_plain, one[1].folder.split("/"))]
    if inside and len(inside) < len(found):
        found, asked = inside, ""
    folders = {at.folder for _, at in found}
    if not has_parts and "" not in folders and len(folders) > 1:
        raise _ambiguous(_sizes((at.folder.rpartition("/")[2], each) for each, at in found))
    groups: dict[tuple[str, str], dict[str, Found]] = defaultdict(lambda: defaultdict(list))
    for each, at in found:
        groups[at.folder, at.stem][_plain(at.variant)].append((each, at))
    if asked and not any(asked in variants for variants in groups.values()):
        raise _no_such(found, variant)
    chosen: dict[str, Weights] = {}
    for variants in groups.values():
        one = asked if asked in variants else ""
        if one not in variants and len(variants) > 1:
            raise _ambiguous(_sizes((at.variant, each) for each, at in found))
        taken = variants.get(one) or next(iter(variants.values()))
        chosen |= {each.path: at for each, at in _complete(taken)}
    return chosen


def _of_quantization(found: Found, variant: str) -> dict[str, Weights]:
    """Return one quantization of one model, and the projector that goes with it."""
    asked = _plain(variant)
    models = [one for one in found if "mmproj" not in one[1].stem.lower()]
    projectors = [one for one in found if one not in models]
    if not models:
        raise SourceError("The repository has no model in the format gguf, only a projector.")
    wanted = [one for one in models if not asked or _plain(one[1].variant) == asked]
    if not wanted:
        raise _no_such(models, variant)
    if len({at.variant for _, at in wanted}) > 1:
        raise _ambiguous(_sizes((at.variant.upper(), each) for each, at in models))
    places = {(at.folder, at.stem) for _, at in wanted if not at.part}
    places |= {("", at.stem) for _, at in wanted if at.part}
    if len(places) > 1:
        names = ", ".join(sorted("/".join(filter(None, each)) for each in places)[:_MOST_LISTED])
        raise SourceError(
            f"The repository has several models of this variant: {names}.",
            hint='Choose one with `include`, such as `include: ["NAME*"]`.',
        )
    ranks = (variant.lower(), *_BEST_MMPROJ)
    best = sorted(projectors, key=lambda one: [one[1].variant != each for each in ranks])
    return {each.path: at for each, at in (*_complete(wanted), *best[:1])}


def _plain(variant: str) -> str:
    return variant.lower().replace("-", "_")


def _complete(taken: Found) -> Found:
    """Return the files of one variant: the whole one, or all parts with their index.

    Raises:
        SourceError: A part is missing, or it is divided in two ways.
    """
    whole = [one for one in taken if not one[1].is_index and not one[1].part]
    divided: dict[int, Found] = defaultdict(list)
    for one in taken:
        if one[1].part:
            divided[one[1].parts].append(one)
    if whole or not divided:  # a whole one is what libraries look for first
        return whole
    complete = {
        count: found
        for count, found in divided.items()
        if sorted(at.part for _, at in found) == [*range(1, count + 1)]
    }
    if len(complete) > 1:
        ways = [(f"in {n} parts", each) for n, parts in complete.items() for each, _ in parts]
        raise _ambiguous(_sizes(ways))
    if not complete:
        count, found = max(divided.items())
        raise SourceError(
            f"The repository has {len(found)} of the {count} parts of {found[0][0].path}.",
            hint="Choose another revision, or tell its owner.",
        )
    (found,) = complete.values()
    return [*found, *(one for one in taken if one[1].is_index)]


def _sizes(found: Iterable[tuple[str, Artifact]]) -> dict[str, int]:
    sizes: dict[str, int] = defaultdict(int)
    for name, each in found:
        sizes[name or "the usual one"] += each.size or 0
    return sizes


def _listed(said: str, sizes: dict[str, int]) -> str:
    items = sorted(sizes.items(), key=lambda item: item[1])
    shown = ", ".join(f"{name} ({bytes_text(size)})" for name, size in items[:_MOST_LISTED])
    more = f" and {len(items) - _MOST_LISTED} more" * (len(items) > _MOST_LISTED)
    return f"{said} {shown or 'none'}{more}."


def _no_such(found: Found, variant: str) -> SourceError:
    from difflib import get_close_matches  # noqa: PLC0415 - on the way to an error

    is_gguf = any(at.format == "gguf" for _, at in found)
    sizes = _sizes((at.variant.upper() if is_gguf else at.variant, each) for each, at in found)
    near = get_close_matches(variant.upper() if is_gguf else variant, sizes, 1)
    meant = f"Did you mean {near[0]}? " if near else ""
    return SourceError(
        f"The repository has no variant {variant} of these weights.",
        hint=meant + _listed("It has", sizes),
    )


def _ambiguous(sizes: dict[str, int]) -> SourceError:
    return SourceError(
        f"The repository has these weights {len(sizes)} times.",
        hint=_listed("Choose one with `variant`:", sizes),
    )
