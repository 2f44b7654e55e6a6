"""Together AI's fine-tuned models, as their SDKs download them.

A job (`GET /v1/fine-tunes/{id}`) has checkpoints (`…/{id}/checkpoints`), and each comes as one
archive from `GET /v1/finetune/download?ft_id=&checkpoint=&checkpoint_step=` (together 1.5.34 and
3.1.1; togethercomputer/openapi). Nobody publishes a digest of it: the first fetch pins one.
"""

from downloader.sources.together.source import Together

__all__ = ["Together"]
