"""The reference: docstrings that say what there is, and pages without a warning."""

import ast
import importlib.util
import os
import pathlib
import re
import subprocess
import sys

import programs
import pytest

ROOT = pathlib.Path(programs.ROOT)


def load_build():
    """docs/build.py, which is no module of a package."""
    spec = importlib.util.spec_from_file_location("build", ROOT / "docs" / "build.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


BUILD = load_build()
MODULES = [
    name
    for _, _, packages in BUILD.STAGES.values()
    for name in BUILD.names_of(packages)
]


def documented(docstring):
    """Names of a docstring's Args."""
    section = re.search(r"(?ms)^Args:\n(.*?)(?=^\S|\Z)", docstring)
    names = re.findall(r"(?m)^  (\S[^:\n]*):", section[1]) if section else []
    return [name.lstrip("*") for some in names for name in some.split(", ")]


def parameters(function):
    given = function.args
    everything = [*given.posonlyargs, *given.args, *given.kwonlyargs]
    everything += [extra for extra in (given.vararg, given.kwarg) if extra]
    return {parameter.arg for parameter in everything} - {"self"}


@pytest.mark.parametrize("module", MODULES)
def test_documented_arguments_are_those_of_the_signature(module):
    tree = ast.parse(BUILD.source_of(module).read_text("utf-8"))
    assert ast.get_docstring(tree), f"{module} does not say what it is"
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and (text := ast.get_docstring(node)):
            strange = set(documented(text)) - parameters(node)
            assert not strange, f"{module}.{node.name}, line {node.lineno}"


def test_every_public_module_has_one_page():
    BUILD.refuse_unless_complete(MODULES)
    for wrong in (
        MODULES[1:],
        [*MODULES, MODULES[0]],
        [*MODULES, "inpainting_tf.none"],
    ):
        with pytest.raises(SystemExit, match="STAGES"):
            BUILD.refuse_unless_complete(wrong)


def test_every_benchmark_has_its_line_in_the_table():
    text = (ROOT / "benchmarks" / "README.md").read_text("utf-8")
    table = text.partition("\n## ")[0]
    for path in sorted((ROOT / "benchmarks").glob("*.py")):
        if "__main__" in path.read_text("utf-8"):
            assert f"\n| `python -m benchmarks.{path.stem}" in table, path


@pytest.mark.slow
def test_the_reference_is_built_without_a_warning():
    pytest.importorskip("zensical", reason="needs the extra `docs`")
    process = subprocess.run(
        [sys.executable, os.path.join("docs", "build.py")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 0, process.stdout + process.stderr
    site = ROOT / "site"
    for module in MODULES:
        page = (site / "reference" / f"{module}.html").read_text("utf-8")
        assert f'id="{module}"' in page
    # A function with its arguments and errors, for one.
    page = (site / "reference" / "inpainting_tf.completion.html").read_text("utf-8")
    assert 'id="inpainting_tf.completion.PhotoMethod.__call__"' in page
    text = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", "", page))
    assert "ValueError – an array of another type or shape" in text
    for page in site.rglob("*.html"):
        loaded = re.findall(r'(?:src|<link[^>]*href)="(https?:[^"]*)', page.read_text())
        assert not loaded, f"{page} opens from a disk only with a network"
