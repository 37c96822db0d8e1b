"""Devices."""

from __future__ import annotations

import torch

from ablations.techniques.base import Device, TrainingContext, technique


@technique
class Cpu(Device):
    """The processor: the control."""

    name = "cpu"

    def available(self) -> bool:
        return True


class _Accelerator(Device):
    """A device with a module in torch, such as ``torch.cuda``."""

    def available(self) -> bool:
        return bool(getattr(torch, self.name).is_available())

    def synchronize(self) -> None:
        getattr(torch, self.name).synchronize()

    def forget_peak(self) -> None:
        module = getattr(torch, self.name)
        if hasattr(module, "reset_peak_memory_stats"):
            module.reset_peak_memory_stats()

    def peak(self) -> int | None:
        read_peak = getattr(getattr(torch, self.name), "max_memory_allocated", None)
        return None if read_peak is None else int(read_peak())


@technique
class Cuda(_Accelerator):
    """An NVIDIA or AMD graphics processor through CUDA or ROCm."""

    name = "cuda"


@technique
class Mps(_Accelerator):
    """An Apple graphics processor through Metal."""

    name = "mps"

    def skip(self, context: TrainingContext) -> str | None:
        if self.available() and context.dtype == "float64":
            return "mps has no float64"
        return super().skip(context)


@technique
class Xpu(_Accelerator):
    """An Intel graphics processor."""

    name = "xpu"
