"""`twotower export`: a trained run becomes a version of a served model, checked before anyone can see it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.console import Console

from trainer import contract
from trainer.config import ProjectConfig, digest_of
from trainer.dataset import DatasetDirectory
from trainer.errors import ExportError
from trainer.explaining.build import build_serving_model, described_items
from trainer.index import ItemIndex
from trainer.indexes.agreement import check_agreement
from trainer.indexes.choose import Search, build_search
from trainer.intent.beside import INTENT_SIGNATURES, check_intents, save_with_intents
from trainer.intent.on_recommender import IntentHead
from trainer.item_tower import ID
from trainer.keras_compat import tf
from trainer.lint.cli import show_findings
from trainer.lint.findings import Finding
from trainer.lint.lint import lint
from trainer.listing import rule_window
from trainer.live import LiveModel, item_categories
from trainer.probes import Arrays, Probes
from trainer.publishing import publishing, unfinished
from trainer.refresh.digests import catalogue_digest, content_digest, write_digests
from trainer.refresh.items_file import items_of
from trainer.rules.variants import variant_groups
from trainer.run import RunDirectory, write_json
from trainer.scoring import encode_catalogue
from trainer.sequences import load_sequences
from trainer.signatures import SignatureInputs, build_signatures, signature_inputs
from trainer.text_precision import with_text_precision
from trainer.training import load_best
from trainer.verification import verify
from trainer.versions import CANDIDATES, newest_version, next_version
from trainer.warmup import write_warmup
from trainer.workbench import Workbench


def export(
    config: ProjectConfig,
    split: str,
    console: Console,
    *,
    overwrite: bool = False,
    candidate: bool = False,
    check: bool = False,
) -> Path | None:
    """Writes the next version of the model of one split protocol.

    Args:
        config: The configuration file.
        split: Whose run to export.
        console: For progress.
        overwrite: Write a version even if the newest one is of the same run and settings.
        candidate: Write it below `candidates/`, where no server looks, for `twotower promote`.
        check: Write and check the version, say what the linter found, and throw it away.

    Returns:
        The version directory; None of a check.

    Raises:
        ExportError: the graph uses ops that the server lacks, or the export answers otherwise than the live model.
        RunError: there is no finished run.
    """
    dataset = DatasetDirectory.open(config.dataset_dir(split))
    run = RunDirectory(config.run_dir(split))
    intents = IntentHead.load(run)
    identity = digest_of(
        run.finished()["identity"], config.export, *([intents.facts["identity"]] if intents else ())
    )
    base = config.export.directory / config.name
    place = base / CANDIDATES if candidate else base
    newest = newest_version(place)
    if newest is not None and not (overwrite or check) and read_facts(newest).get("identity") == identity:
        console.print(
            f"{newest} is up to date: same run and settings. Use --overwrite to write another version."
        )
        return newest
    bench = Workbench.open(config, dataset, console)
    load_best(bench.model, config.train, run, console)
    bench, tower = with_text_precision(config, bench, console)
    number = next_version(base)
    facts = _facts(config, bench, run, split, identity, number) | {"text_tower": tower}
    if intents is not None:
        facts["classes"] = list(intents.classes)
    with (unfinished if check else publishing)(place, number) as folder:
        console.print(f"Writing version {number} of {config.name} ...")
        made = _Made.of(config, bench)
        search = _save(config, bench, made, facts, folder, intents)
        console.print("Checking ops and signatures ...")
        findings = check_lint(folder, config.export.serving_release, config.export.server_ops)
        console.print("Loading it in a fresh process and comparing its answers with the live model ...")
        _verify(config, bench, made, facts, search, folder)
        if intents is not None:
            check_intents(intents, bench, folder)
    if check:
        show_findings(config.name, config.export.serving_release, findings, console)
        console.print(f"{config.name} passes; nothing was published, because this was a check.")
        return None
    target = place / str(number)
    console.print(
        f"Exported {target}: {len(bench.preparation.catalogue):,} items, lists of {config.export.k}."
    )
    return target


def read_facts(version_dir: Path) -> dict[str, Any]:
    """serving.json of an exported version; empty if it cannot be read."""
    try:
        return dict(
            json.loads((version_dir / contract.EXTRA_ASSETS / contract.SERVING_FILE).read_text("utf-8"))
        )
    except (OSError, ValueError):
        return {}


def _facts(
    config: ProjectConfig, bench: Workbench, run: RunDirectory, split: str, identity: str, number: int
) -> dict[str, Any]:
    manifest, text = run.finished(), config.train.text
    return {
        "format": contract.SERVING_FORMAT,
        "version": contract.SERVING_VERSION,
        "name": config.name,
        "model_version": number,
        "identity": identity,
        "protocol": split,
        "k": config.export.k,
        "candidates": config.train.ranking.candidates,
        "embedding_dim": config.train.model.embedding_dim,
        "catalogue_size": len(bench.preparation.catalogue),
        "trained_items": bench.preparation.catalogue.trained,
        "serving_release": config.export.serving_release,
        "server_ops": list(config.export.server_ops),
        "rules": list(contract.RULES),
        "rule_window": rule_window(config.train.ranking.candidates, config.export.k),
        "variant_feature": config.export.variant_feature,
        "limits": {
            "history": _max_history(config),
            "query_characters": text.max_characters,
            "query_tokens": text.max_tokens,
            **({"explain_items": config.export.explanation_items} if config.export.explanations else {}),
        },
        "dataset_digest": bench.dataset.digest,
        "encoder_digest": manifest.get("encoder_digest"),
        "validation": manifest["validation"],
        "twotower_version": version("twotower"),
        "tensorflow_version": tf.__version__,
    }


@dataclass(frozen=True)
class _Made:
    """What both the saved model and its check need.

    Attributes:
        inputs: Of the signatures.
        probes: Make requests.
        variants: int64 [N] variant groups of the catalogue.
    """

    inputs: SignatureInputs
    probes: Probes
    variants: npt.NDArray[np.int64]

    @classmethod
    def of(cls, config: ProjectConfig, bench: Workbench) -> _Made:
        """Made once."""
        preparation = bench.preparation
        inputs = _inputs(config, bench)
        sequences = load_sequences(bench.dataset, "test", preparation.catalogue)
        return cls(inputs, Probes(preparation, sequences, inputs), _variants(config, bench))


def _save(
    config: ProjectConfig,
    bench: Workbench,
    made: _Made,
    facts: dict[str, Any],
    folder: Path,
    intents: IntentHead | None,
) -> Search:
    inputs, catalogue = made.inputs, bench.preparation.catalogue
    items = list(items_of(catalogue, inputs.item))
    described = [content_digest(item.features, sorted(inputs.item)) for item in items]
    digests = np.asarray(described, np.uint64)
    search = _search(config, bench, made.probes)
    facts |= {"catalogue_digest": catalogue_digest(catalogue.item_ids, digests), "index": search.facts}
    index = ItemIndex(
        catalogue.item_ids,
        search.table,
        catalogue.counts,
        item_categories(bench),
        variants=made.variants,
        finder=search.finder,
        id_rows=bench.model.known_catalogue.inputs[ID].numpy(),
        descriptions=described_items(config.export, bench, inputs, items),
    )
    served = build_serving_model(config.export, bench, index, inputs, facts)
    signatures = build_signatures(served, inputs)
    save_with_intents(served, signatures, intents, bench, folder)
    extra = folder / contract.EXTRA_ASSETS
    names = [*signatures, *(INTENT_SIGNATURES if intents is not None else ())]
    write_json(extra / contract.SERVING_FILE, {**facts, "signatures": sorted(names)})
    write_digests(folder, digests)
    for file in (bench.dataset.titles_file, bench.dataset.keywords_file):
        if file.is_file():
            shutil.copyfile(file, extra / file.name)
    write_warmup(extra / contract.WARMUP_FILE, made.probes, signatures, config.export.warmup_batch_sizes)
    return search


def _search(config: ProjectConfig, bench: Workbench, probes: Probes) -> Search:
    """The search over the catalogue's vectors, measured on histories of the test split."""
    vectors = encode_catalogue(bench.model).numpy()

    def queries() -> Any:
        live = LiveModel(bench, config.export.k, _max_history(config))
        return live.answer("embed_query", probes.histories(config.export.index.queries))[contract.EMBEDDING]

    return build_search(vectors, queries, config.export.k, config.export.index)


def _inputs(config: ProjectConfig, bench: Workbench) -> SignatureInputs:
    return signature_inputs(bench.model, bench.preparation.item_text, explained=config.export.explanations)


def _variants(config: ProjectConfig, bench: Workbench) -> npt.NDArray[np.int64]:
    """int64 [N] variant groups of the catalogue."""
    catalogue, name = bench.preparation.catalogue, config.export.variant_feature
    if name is None:
        return variant_groups(catalogue.titles)
    usable = sorted(column for column, values in catalogue.columns.items() if values.ndim == 1)
    if name not in usable:
        raise ExportError(
            f"export.variant_feature = {name!r} is no item feature of the dataset that groups items; "
            f"it has {', '.join(usable)}."
        )
    return variant_groups(catalogue.columns[name])


def _max_history(config: ProjectConfig) -> int:
    return config.export.max_history or config.train.model.history.max_length


def check_lint(folder: Path, release: str, besides: Sequence[str] = ()) -> list[Finding]:
    """Refuses a graph that the server could not load or batch, and returns the findings that are no errors.

    Raises:
        ExportError: with every finding that is an error.
    """
    findings = lint(folder, release, besides)
    errors = [finding for finding in findings if finding.severity == "error"]
    if errors:
        listed = "\n".join(f"  {finding}" for finding in errors)
        raise ExportError(
            f"The model was not published; TensorFlow Serving {release} could not use it:\n{listed}"
        )
    return findings


def _verify(
    config: ProjectConfig, bench: Workbench, made: _Made, facts: dict[str, Any], search: Search, folder: Path
) -> None:
    """Asks the saved model in a fresh process and the live one in this process the same questions."""
    vectors = search.table.all().numpy()
    live = LiveModel(
        bench, config.export.k, _max_history(config), vectors, made.variants, explains=config.export
    )

    def agreement(
        where: str, signature: str, expected: Arrays, came: Arrays, counted: npt.NDArray[np.bool_]
    ) -> None:
        least = config.export.index.min_recall
        check_agreement(where, expected, came, least, counted, scores=signature == "retrieve")

    check_lists = None if search.finder is None else agreement
    item_ids = bench.preparation.catalogue.item_ids
    verify(live, made.probes, made.inputs, facts, folder, item_ids, check_lists)
