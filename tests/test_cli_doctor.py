"""`wm doctor`: versions, devices, extras, known breakages and a self-test."""

import time

import jax
import pytest

from wm import cli, cli_doctor


def test_quick_says_versions_devices_extras_and_breakages(capsys, monkeypatch):
    monkeypatch.setattr(cli_doctor, "breakages", lambda devices: ["x is broken"])
    assert cli.main(["doctor", "--quick"]) == 1
    out = capsys.readouterr().out
    for part in ("versions", f"jax {jax.__version__}", "devices", "cpu:0", "extras"):
        assert part in out
    assert "known breakages\n  x is broken" in out
    assert "self-test" not in out


@pytest.mark.parametrize(
    ("name", "value", "line"),
    [
        ("JAX_ENABLE_X64", "1", "JAX_ENABLE_X64 is set"),
        ("PATH", "with nvidia-smi", r"pip install 'wm-jax[cuda]'"),
    ],
)
def test_known_breakages_are_found(name, value, line, monkeypatch, tmp_path):
    assert not any(line in one for one in cli_doctor.breakages(jax.devices()))
    if name == "PATH":
        program = tmp_path / "nvidia-smi"
        program.write_text("")
        program.chmod(0o755)
        value = str(tmp_path)
    monkeypatch.setenv(name, value)
    assert any(line in one for one in cli_doctor.breakages(jax.devices()))


def test_a_cache_that_cannot_be_written_is_found(monkeypatch):
    # Not by its permissions: who runs the tests may write everywhere.
    monkeypatch.setattr(cli_doctor.os, "access", lambda path, mode: False)
    assert any("cannot be written" in x for x in cli_doctor.breakages(jax.devices()))


def test_versions_that_do_not_match_are_found(monkeypatch):
    versions = {"jax": "0.11.0", "jaxlib": "0.10.2"}
    monkeypatch.setattr(cli_doctor, "_version", versions.get)
    lines = cli_doctor.breakages(jax.devices())
    assert "jax 0.11.0 and jaxlib 0.10.2 do not match" in lines


def test_a_self_test_that_fails_says_why(monkeypatch, capsys):
    def broken(out):
        raise RuntimeError("no such kernel\nand more")

    monkeypatch.setattr(cli_doctor, "_train_briefly", broken)
    assert not cli_doctor._self_test()
    assert "failed: RuntimeError: no such kernel\n" in capsys.readouterr().out


@pytest.mark.slow
def test_the_self_test_trains_and_saves_within_a_minute(capsys):
    start = time.perf_counter()
    assert cli_doctor._self_test()
    assert "trained 512 steps of pixels/catch and saved them" in capsys.readouterr().out
    # Thirty seconds on two free cores; a busy machine gets twice that.
    assert time.perf_counter() - start < 60
