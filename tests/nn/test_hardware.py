"""What the hardware is asked, on machines that have it and that do not."""

from __future__ import annotations

import pytest
import torch

from manyviews.nn.hardware import has_bf16


@pytest.mark.parametrize("amx", [False, True])
@pytest.mark.parametrize("avx512", [False, True])
def test_a_processor_has_bf16_by_either_of_two_units(amx: bool, avx512: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx, raising=False)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: avx512, raising=False)
    assert has_bf16("cpu") == has_bf16(torch.device("cpu")) == (amx or avx512)


def test_a_gpu_speaks_for_itself_and_not_for_the_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_is_amx_tile_supported", "_is_avx512_bf16_supported"):
        monkeypatch.setattr(torch.cpu, name, lambda: False, raising=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    for real in (False, True):
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation, real=real: real or including_emulation)
        assert has_bf16() == has_bf16("cuda:0") == real
        assert not has_bf16("cpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert not has_bf16()


def test_a_version_of_pytorch_that_cannot_tell_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_is_amx_tile_supported", "_is_avx512_bf16_supported"):
        monkeypatch.delattr(torch.cpu, name, raising=False)
    assert not has_bf16("cpu") and not has_bf16("mps")
