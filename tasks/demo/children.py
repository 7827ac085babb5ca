"""The demo's heavy steps, as functions for `tasks.child`: teach a base model, and play production."""

from pathlib import Path
from typing import Any

from tasks.child import Progress, spin_when_alone
from tasks.demo.base_model import BaseSpec, build_base
from tasks.demo.production import answer


def build(spec: dict[str, Any], progress: Progress) -> dict[str, Any]:
    """Build the base model of `spec` (`spec`, `conversations`, `folder_root`); its folder."""

    def report(step: int, steps: int, loss: float) -> None:
        if step % 50 == 0 or step == steps:
            progress(done=step, total=steps, detail=f"loss {loss:.3f}")

    spin_when_alone()
    base_spec = BaseSpec.model_validate(spec["spec"])
    return {"folder": str(build_base(spec["conversations"], base_spec, Path(spec["folder_root"]), report))}


def serve(spec: dict[str, Any], progress: Progress) -> dict[str, Any]:
    """Answer `spec["prompts"]` with the base and, if there is one, the adapter; the outputs in their order."""

    def report(done: int, total: int) -> None:
        progress(done=done, total=total, detail="")

    adapter = Path(spec["adapter"]) if spec["adapter"] else None
    outputs = answer(spec["base"], adapter, spec["prompts"], spec["max_new_tokens"], on_progress=report)
    return {"outputs": outputs}
