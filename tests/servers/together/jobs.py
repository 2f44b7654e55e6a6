"""A fine-tuning job: its checkpoints, which bytes a download means, and how it looks in JSON."""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal, TypedDict

Kind = Literal["adapter", "merged", "model"]
"""`model` is what full training makes; the other two come of LoRA."""
Checkpoints = Mapping[int, Mapping[Kind, bytes]]
Item = dict[str, Any]

ISO_8601 = "%Y-%m-%dT%H:%M:%SZ"
ENDED_WELL = "completed"
ASKED_AS: dict[str, Kind] = {"merged": "merged", "adapter": "adapter", "model_output_path": "model"}
LORA = {"lora_r": 8, "lora_alpha": 16, "lora_dropout": 0.0, "lora_trainable_modules": "all-linear"}


class JobFields(TypedDict, total=False):
    """What a test may say of a job; see Job."""

    training: str | None
    status: str
    next_statuses: deque[str]
    output_name: str | None
    model: str
    checkpoints: Checkpoints
    final_step: int | None
    created_at: str
    step_kind: Kind
    upper_events: bool
    events: list[Item] | None


@dataclass(kw_only=True)
class Job:
    """A job; a test changes it while clients look.

    Attributes:
        id: As `ft-0123abcd-0123`.
        training: `Lora` or `Full`; `""` stands for full training in old jobs, None is left out.
        status: What the next look at the job says, unless `next_statuses` has one.
        next_statuses: One for each coming GET of the job itself; the last one stays.
        output_name: `model_output_name`; None while there is none.
        model: The base model.
        checkpoints: Archives by step and kind.
        final_step: The step of the final model; by default the last one.
        created_at: ISO 8601. The checkpoint of step N was saved N seconds later.
        step_kind: Which archive of a LoRA job an intermediate step gives. The documents say only
            that `checkpoint` is ignored there; the adapter is our guess.
        upper_events: Whether types of events are written `JOB_COMPLETE`, which both SDKs read, or
            `job_complete` as in the OpenAPI file, at which SDK 1.5 refuses the whole job.
        events: In place of those that follow from status and checkpoints.
    """

    id: str
    training: str | None = "Lora"
    status: str = ENDED_WELL
    next_statuses: deque[str] = field(default_factory=deque)
    output_name: str | None = "acct/Llama-3.2-1B-My_Suffix-abc123"
    model: str = "meta-llama/Llama-3.2-1B"
    checkpoints: Checkpoints = field(default_factory=dict)
    final_step: int | None = None
    created_at: str = "2025-09-24T23:14:12Z"
    step_kind: Kind = "adapter"
    upper_events: bool = True
    events: list[Item] | None = None

    @property
    def is_lora(self) -> bool:
        """Whether the job trains an adapter."""
        return self.training == "Lora"

    @property
    def last_step(self) -> int | None:
        """The step of the final model, or None while there is nothing."""
        return max(self.checkpoints, default=None) if self.final_step is None else self.final_step

    def look(self) -> None:
        """Move on to the next status, where the test has named one."""
        if self.next_statuses:
            self.status = self.next_statuses.popleft()

    def archive(self, checkpoint: str | None, step: int | None) -> bytes | None:
        """Return the archive a download means; None where there is none.

        Args:
            checkpoint: As in the query. It does not count where a step is given; a final step is
                the final model. Step 0 is as if there were none (types of SDK 3.x).
            step: `checkpoint_step` of the query.

        Raises:
            ValueError: The parameters do not fit the job.
        """
        if step:
            return self._at(step, self._kind_at(step))
        kind = ASKED_AS.get(checkpoint or "")
        if kind is None or (kind == "model") == self.is_lora:
            raise ValueError(f"checkpoint {checkpoint!r} of a {self.training!r} job")
        return None if self.last_step is None else self._at(self.last_step, kind)

    def _kind_at(self, step: int) -> Kind:
        if not self.is_lora:
            return "model"
        return "merged" if step == self.last_step else self.step_kind

    def _at(self, step: int, kind: Kind) -> bytes | None:
        return self.checkpoints.get(step, {}).get(kind)

    def shown(self) -> Item:
        """Return the job as `GET /v1/fine-tunes/{id}` shows it."""
        kind = {"type": self.training} | (LORA if self.is_lora else {})
        return {
            "id": self.id,
            "status": self.status,
            "user_id": "user-1",
            "model": self.model,
            "model_output_name": self.output_name,
            "model_output_path": f"s3://together-dev/finetune/{self.id}/model",
            "training_file": "file-0a1b",
            "training_type": None if self.training is None else kind,
            "n_checkpoints": len(self.checkpoints),
            "total_steps": self.last_step,
            "created_at": self.created_at,
            "updated_at": self.created_at,
            "events": self.shown_events(),
        }

    def shown_checkpoints(self) -> list[Item]:
        """Return the checkpoints saved so far; the final ones once the job is completed."""
        return [
            self._checkpoint(step, kind, label)
            for step in sorted(self.checkpoints)
            for kind, label in self._labels(step)
        ]

    def _labels(self, step: int) -> list[tuple[Kind, str]]:
        if step != self.last_step:
            return [(self._kind_at(step), "Intermediate")]
        if self.status != ENDED_WELL:
            return []
        if not self.is_lora:
            return [("model", "Final")]
        final: list[tuple[Kind, str]] = [("merged", "Final Merged"), ("adapter", "Final Adapter")]
        return [each for each in final if each[0] in self.checkpoints[step]]

    def _checkpoint(self, step: int, kind: Kind, label: str) -> Item:
        return {
            "step": step,
            "created_at": later(self.created_at, step),
            "path": f"s3://together-dev/finetune/{self.id}/{kind}-{step}",
            "checkpoint_type": label,
            "checkpoint": "adapter" if kind == "adapter" else "model",
        }

    def shown_events(self) -> list[Item]:
        """Return what happened so far, oldest first."""
        if self.events is not None:
            return self.events
        saved = [("checkpoint_save", step) for step in sorted(self.checkpoints)]
        ended = [("job_complete", self.last_step or 0)] if self.status == ENDED_WELL else []
        return [self._event(*each) for each in [("job_pending", 0), *saved, *ended]]

    def _event(self, kind: str, step: int) -> Item:
        return {
            "object": "fine-tune-event",
            "created_at": later(self.created_at, step),
            "level": "info",
            "message": f"{kind} at step {step}",
            "type": kind.upper() if self.upper_events else kind,
            "hash": "",
        }


def later(moment: str, seconds: int) -> str:
    """Return an ISO 8601 moment so many seconds later, with the Z that Together writes."""
    return (datetime.fromisoformat(moment) + timedelta(seconds=seconds)).strftime(ISO_8601)
