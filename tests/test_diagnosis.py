"""What the doctor makes of a machine, here of one that is made up."""

import pytest
import torch

from torch_direct import diagnosis
from torch_direct.diagnosis import Finding, Verdict, diagnose
from torch_direct.errors import CudaError


def test_everything_is_looked_at_once():
    findings = list(diagnose())
    subjects = [finding.subject for finding in findings]
    assert len(set(subjects)) == len(subjects)
    assert subjects[:3] == ["operating system", "PyTorch", "GPU"]
    assert {"Triton", "C compiler", "host memory", "huge pages, shared"} <= set(subjects)


def test_what_cannot_be_looked_at_is_a_finding_and_ends_what_needs_the_gpu(monkeypatch):
    def fail() -> Finding:
        raise CudaError("no driver")

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(diagnosis, "_gpu", lambda: Finding("GPU", Verdict.GOOD, "one"))
    monkeypatch.setattr(diagnosis, "_driver", fail)
    findings = {finding.subject: finding for finding in diagnose()}
    assert findings["driver"] == Finding("driver", Verdict.BROKEN, "CudaError: no driver")
    assert "registering memory" not in findings
    assert "Triton" in findings


@pytest.mark.parametrize(
    ("text", "verdict", "found"),
    [
        ("always [madvise] never", Verdict.GOOD, "madvise"),
        ("always madvise [never]", Verdict.NOTE, "never"),
        ("always within_size advise never [deny] force", Verdict.NOTE, "deny"),
        (None, Verdict.NOTE, "the kernel does not say"),
    ],
)
def test_huge_pages(monkeypatch, tmp_path, text, verdict, found):
    monkeypatch.setattr(diagnosis, "_HUGE_PAGES", tmp_path)
    if text is not None:
        (tmp_path / "shmem_enabled").write_text(text)
    finding = diagnosis._shared_huge_pages()
    assert (finding.verdict, finding.found) == (verdict, found)
    assert ("shmem_enabled" in finding.remedy) == (text is not None and verdict is Verdict.NOTE)


def test_a_c_compiler_is_the_one_that_is_named(monkeypatch, tmp_path):
    compiler = tmp_path / "mycc"
    compiler.write_text("")
    compiler.chmod(0o755)
    monkeypatch.setenv("CC", str(compiler))
    assert diagnosis._c_compiler().found == str(compiler)
    monkeypatch.setenv("CC", "no-such-compiler")
    missing = diagnosis._c_compiler()
    assert missing.found == "none (no-such-compiler)"
    assert missing.verdict is not Verdict.GOOD
