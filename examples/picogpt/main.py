"""picoGPT on files that modelmake fetched: python main.py "Alan Turing theorized" [124M]."""

import sys

from downloader import Progress, ensure


def show(event: Progress) -> None:
    """Print how far each file is."""
    total = event.total_bytes or event.done_bytes or 1
    print(f"{event.kind} {event.path} {event.done_bytes / total:.0%} {event.text}", file=sys.stderr)


def main(prompt: str, model_size: str = "124M") -> None:
    """Bring the model up to date, then let picoGPT go on with the prompt."""
    folder = ensure(model_size, progress=show)

    from gpt2 import main as generate  # noqa: PLC0415 - picoGPT's, which imports TensorFlow

    print(generate(prompt, model_size=model_size, models_dir=str(folder.parent)))


if __name__ == "__main__":
    main(*sys.argv[1:])
