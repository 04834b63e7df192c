"""Builds the reference: pages of the package's docstrings, the READMEs, and the guides.

    pip install -e ".[docs]"
    python docs/build.py

Inputs: the packages' modules, which are read and not imported; the READMEs; this
folder's pages and `mkdocs.yml`. Output: site/, web pages that open from a disk, with
search. Exit status 1, and the old site/ stays, after any warning: a link to nowhere, a
docstring that cannot be read, a module that belongs to no stage or that two name.

Stages: `refuse_unless_complete`; `write_pages`, into a temporary folder; Zensical.
"""

import ast
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
PACKAGES = (
    "inpainting_tf",
    "baselines",
    "command_line",
    "serving",
    "collection",
    "web_page",
)

# Title -> (file, what it is about, package -> modules); "." is the package itself.
STAGES = {
    "From Python": (
        "from_python",
        "A method by its name or folder, and photos of any size through it.",
        {
            "inpainting_tf": ". completion photos photo_masks photo_figures any_size "
            "self_ensemble"
        },
    ),
    "Web page": (
        "web_page",
        "What demo.py serves: a photo, a brush, methods side by side.",
        {
            "web_page": ". server page events job strokes pictures attention results "
            "kept temporary"
        },
    ),
    "Flags": (
        "flags",
        "What the programs share: how a command line becomes pictures, holes, methods.",
        {
            "command_line": ". parsing data_flags method_flags search_recipes trained "
            "served_methods source_text contenders photo_sources photo_methods "
            "photo_outputs summary memory weights_along pack_weights imagenet_features torch_arrays"
        },
    ),
    "Data": (
        "data",
        "From picture files, or drawn faces, to batches of image, mask and box.",
        {
            "inpainting_tf": "data sources images image_files untrusted masks "
            "mask_rules synthetic_faces face_parameters face_painting"
        },
    ),
    "Methods": (
        "methods",
        "The networks and searches: whatever completes an image, given its mask.",
        {
            "inpainting_tf": "parallel_attention symmetric_search latent_search "
            "latent_completion watched_search blending",
            "baselines": ". methods context_encoder glcic glcic_networks giica "
            "giica_networks dcgan siidgm classical",
        },
    ),
    "Attention and layers": (
        "attention",
        "What the networks are made of.",
        {
            "inpainting_tf": "contextual_attention attention_stages "
            "attention_diagonals attention_rows attention_blocks ordered_sums layers "
            "convolutions arithmetic"
        },
    ),
    "Losses": (
        "losses",
        "What is minimised, and how an optimizer takes its step.",
        {"inpainting_tf": "losses optimization averaging"},
    ),
    "Loop": (
        "loop",
        "Training: the loop, what it reports while it runs, and how it stops.",
        {
            "inpainting_tf": "training training_run compiled_steps evaluation progress "
            "stopping workers meeting following health figures"
        },
    ),
    "Checkpoints": (
        "checkpoints",
        "Run folders, their checkpoints, and weights that other programs trained.",
        {
            "inpainting_tf": "run_folder checkpoints named_weights",
            "baselines": "released_weights released_glcic released_giica "
            "released_dcgan tf1_checkpoint frozen_graph",
        },
    ),
    "Export and serving": (
        "serving",
        "SavedModels, a client of TF Serving, and whole collections by Apache Beam.",
        {
            "inpainting_tf": "exporting serving graph_codecs tensorflow_errors",
            "serving": ". client transport pictures local_model",
            "collection": ". pipeline work storage",
        },
    ),
    "Evaluation": (
        "evaluation",
        "Frozen protocols, metrics, and one pass that measures methods side by side.",
        {
            "inpainting_tf": "protocols protocol_definition protocol_examples "
            "protocol_masks freeze_protocol protocol_pictures metrics metric_stages "
            "published_metrics metric_table features statistics side_by_side "
            "measured_values side_by_side_results results search_results asymmetry"
        },
    ),
    "Reports and figures": (
        "reports",
        "Results as tables, files, one web page, and figures for screen and print.",
        {
            "inpainting_tf": "report_tables report_files report_page figure_grids "
            "figure_tiles figure_charts figure_style figure_files"
        },
    ),
}

# READMEs of the repository -> their pages.
READMES = {
    "README.md": ("Manual", "manual.md"),
    "serving/README.md": ("TF Serving", "tf_serving.md"),
    "benchmarks/README.md": ("Benchmarks", "benchmarks.md"),
}


def write_pages(folder):
    """Writes all pages as Markdown.

    Args:
      folder: pathlib.Path, which exists.

    Returns:
      the navigation, as `nav` of mkdocs.yml.
    """
    (folder / "reference").mkdir()
    guides = []
    for path in sorted((ROOT / "docs").iterdir()):
        if path.suffix in (".md", ".css"):
            shutil.copy(path, folder)
        if path.name == "images":
            shutil.copytree(path, folder / "images")
        if path.suffix == ".md" and path.name != "index.md":
            guides.append(path.name)
    readmes = []
    for source, (title, page) in READMES.items():
        (folder / page).write_text(readme(source), "utf-8")
        readmes.append({title: page})
    nav = [{"What is where": "index.md"}, readmes[0], *guides, *readmes[1:]]
    for title, (name, about, packages) in STAGES.items():
        modules = names_of(packages)
        index = f"reference/{name}.md"
        (folder / index).write_text(stage_page(title, about, modules), "utf-8")
        entries = [{"Overview": index}]
        for module in modules:
            page = f"reference/{module}.md"
            (folder / page).write_text(f"::: {module}\n", "utf-8")
            entries.append({module.removeprefix("inpainting_tf."): page})
        nav.append({title: entries})
    return nav


def names_of(packages):
    """The modules of a stage, as Python imports them; "." is the package itself."""
    return [
        package if module == "." else f"{package}.{module}"
        for package, modules in packages.items()
        for module in modules.split()
    ]


def source_of(module):
    """Path of a module's file."""
    path = ROOT.joinpath(*module.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def refuse_unless_complete(named):
    """Makes sure that these are the packages' public modules, each once.

    Args:
      named: list of names.

    Raises:
      SystemExit: they are not.
    """
    there = set()
    for package in PACKAGES:
        for path in (ROOT / package).rglob("*.py"):
            parts = path.relative_to(ROOT).with_suffix("").parts
            if parts[-1] == "__init__":
                parts = parts[:-1]
            if not any(part.startswith("_") for part in parts):
                there.add(".".join(parts))
    for what, modules in (
        ("belong to no stage", there - set(named)),
        ("are not there", set(named) - there),
        ("are named twice", {name for name in named if named.count(name) > 1}),
    ):
        if modules:
            sys.exit(f"docs/build.py: STAGES: {what}: {', '.join(sorted(modules))}")


def stage_page(title, about, modules):
    """Markdown page of a stage: its modules, each with its docstring's first line."""
    lines = [f"# {title}", "", about, "", "| module | what |", "|---|---|"]
    for module in modules:
        docstring = ast.get_docstring(ast.parse(source_of(module).read_text("utf-8")))
        first = (docstring or "").partition("\n\n")[0].replace("\n", " ")
        first = first.replace("|", "\\|")
        short = module.removeprefix("inpainting_tf.")
        lines.append(f"| [`{short}`]({module}.md) | {first} |")
    return "\n".join(lines) + "\n"


def readme(source):
    """A README as a page: links lead to pages; what has none is left as text."""
    text = (ROOT / source).read_text("utf-8")
    folder, docs = (ROOT / source).parent, ROOT / "docs"
    pages = {(ROOT / path).resolve(): page for path, (_, page) in READMES.items()}

    def link(match):
        words, path, rest = match.groups()
        target = (folder / path).resolve()
        if target.is_dir():
            target /= "README.md"
        if docs in target.parents:
            return f"[{words}]({target.relative_to(docs)}{rest})"
        return f"[{words}]({pages[target]}{rest})" if target in pages else words

    return re.sub(r"\[([^][]*)\]\((?!https?:|#)([^)#\s]+)([^)\s]*)\)", link, text)


def build():
    """Builds site/, or ends the program and leaves the old one."""
    import yaml  # Of the extra `docs`; the stages above can be looked at without it.

    refuse_unless_complete(
        [name for _, _, packages in STAGES.values() for name in names_of(packages)]
    )
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        (folder / "pages").mkdir()
        settings = yaml.safe_load((ROOT / "docs" / "mkdocs.yml").read_text("utf-8"))
        settings["nav"] = write_pages(folder / "pages")
        plugin = next(p for p in settings["plugins"] if "mkdocstrings" in p)
        plugin = plugin["mkdocstrings"]
        plugin["custom_templates"] = str(ROOT / "docs" / "templates")
        plugin["handlers"]["python"]["paths"] = [str(ROOT)]
        (folder / "mkdocs.yml").write_text(yaml.safe_dump(settings), "utf-8")
        process = subprocess.run(
            [sys.executable, "-m", "zensical", "build", "--strict"],
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        # What a docstring's reader complains of does not count as an issue there.
        complaints = re.findall(r"(?m)^griffe: .*", process.stdout)
        if process.returncode or complaints:
            sys.exit(f"{process.stdout}\ndocs/build.py: not built: see above")
        # Across disks a move takes long, and can fail; a renaming is done at once.
        unfinished = ROOT / ".site.tmp"
        shutil.rmtree(unfinished, ignore_errors=True)
        shutil.move(folder / "site", unfinished)
        shutil.rmtree(ROOT / "site", ignore_errors=True)
        unfinished.rename(ROOT / "site")
    print(f"built: {ROOT / 'site' / 'index.html'}")


if __name__ == "__main__":
    build()
