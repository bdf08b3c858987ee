"""One stage: gather inputs, run the pipeline, publish products, log and - last - the manifest."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import platform
import resource
import sys
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cache
from importlib import metadata
from pathlib import Path, PurePosixPath

from calservice import __version__
from calservice.engines import execute
from calservice.engines.official import alias_of_cal_step as official_alias
from calservice.engines.steplog import settled
from calservice.model import modes
from calservice.model.errors import CalserviceError, InputError, NoScienceData, StepFailed
from calservice.model.exposure import FileStat
from calservice.model.outcome import Job, Outcome, Status, StepOutcome
from calservice.model.plan import FORCED, Input, Stage
from calservice.products.manifest import (
    InputRecord,
    Manifest,
    Product,
    ReferenceRecord,
    StepRecord,
    manifest_name,
)
from calservice.products.store import Store, parent_of, shown
from calservice.run import logs
from calservice.run.saving import Saver
from calservice.run.sealing import Sealing

__all__ = ["Failure", "prepare", "run_stage", "versions"]

log = logging.getLogger("calservice.run")
_PUBLISHED_AT_A_TIME = 4
_PACKAGES = ("calservice", "jwst", "stcal", "stdatamodels", "stpipe", "crds", "numpy", "numba", "astropy", "gwcs")


@dataclass(frozen=True)
class Failure:
    """What a child hands back instead of an outcome when a retry can help."""

    message: str


def run_stage(
    stage: Stage, job: Job, folder: Path, made: Mapping[str, str], also: Sequence[logging.Handler] = ()
) -> Outcome | Failure:
    """Run one stage in this process. Permanent failures come back as outcomes.

    Parameters
    ----------
    stage : Stage
        What to run.
    job : Job
        Where to, and with which references.
    folder : Path
        Private scratch folder; products are left in ``folder/out`` for later stages of the same task.
    made : mapping of str to str
        Local paths of products that earlier stages of the task made, by file name.
    also : sequence of Handler
        Where log records go, beside the log of the stage.
    """
    begun = time.monotonic()
    started = datetime.now(UTC).isoformat(timespec="seconds")
    out = folder / "out"
    out.mkdir(parents=True)
    log_path = folder / f"{stage.label}.log"
    store: Store | None = None
    outcome = Outcome(stage.id, "FAILED", log=log_path.name, host=platform.node())
    try:
        store = Store(job.output)
        if (kept := _made_already(stage, store)) is not None:
            return replace(outcome, status="KEPT", message="made meanwhile", products=kept, log="")
        shown_too = _shown(job, folder, also)
        with logs.logged(log_path, _place(stage, job), job.log_level, shown_too), contextlib.ExitStack() as left:
            log.info("%s of %s, job %s, on %s", stage.pipeline, stage.product, job.id, platform.node())
            primary, brought = _gather(stage, store, folder / "in", made)
            inner, folders = _redirected(stage, out)
            sealing = left.enter_context(Sealing(job.threads, flush=store.local))
            sealing.inputs(brought)
            with _beside(primary, out):
                steps = _calibrate(inner, job, primary, out, Saver(job.threads, sealing.product, flush=store.local))
            files = _files(out, folders)
            if not files and stage.pipeline in (modes.DETECTOR1, "ramp_fit"):
                raise NoScienceData("no product was made: no pixel of this exposure can be fitted")
            if not files:
                raise StepFailed("no product was made")
            log.info("made %s", ", ".join(sorted(files)))
            inputs, products = _records(stage, brought, files, sealing.sums(brought, files.values()))
    except CalserviceError as fault:
        if fault.retry:
            return Failure(str(fault))
        status: Status = "NO_SCIENCE" if isinstance(fault, NoScienceData) else "FAILED"
        outcome = replace(outcome, status=status, message=str(fault), error=type(fault).__name__)
        _note_failure(log_path, fault, job)
        return _publish_log(store, log_path, _measured(outcome, begun))
    except Exception as fault:  # noqa: BLE001 - a defect of ours must not take the worker with it
        outcome = replace(outcome, message=f"internal error: {type(fault).__name__}: {fault}", error="InternalError")
        _note_failure(log_path, fault, job)
        return _publish_log(store, log_path, _measured(outcome, begun))

    outcome = _measured(
        replace(outcome, status="COMPLETE", steps=steps, products=tuple(p.name for p in products)), begun
    )
    manifest = _manifest(stage, job, outcome, started, inputs, products)
    try:
        _publish(store, stage, files, log_path, manifest)
    except CalserviceError as fault:
        if fault.retry:
            return Failure(str(fault))
        return replace(outcome, status="FAILED", message=str(fault), error=type(fault).__name__, products=())
    return outcome


def prepare(stage: Stage, *others: object) -> None:
    """Load what native steps need, for all stages that this process is forked for: kernels and references.

    Kernels are those that came into the cache since the last stage. Exposures of a program have most references in
    common; images stay on disk, and little else is kept.
    """
    from calservice.run.ready import load_kernels

    load_kernels()
    _load_references(stage)


def _load_references(stage: Stage) -> None:
    from calservice.references.load import keep_loaded
    from calservice.steps.registry import NATIVE

    for alias in stage.engines:
        step = NATIVE.get(alias)
        for need in step.references if step is not None else ():
            for use in stage.references:
                if use.reftype == need.reftype and use.step in ("", alias) and use.path.endswith(".fits"):
                    keep_loaded(use.path, need)


def _made_already(stage: Stage, store: Store) -> tuple[str, ...] | None:
    """Return the products of this very stage, if they were published since the plan was made.

    So a task that is run again, because its worker was lost or another client submitted it too, makes nothing twice.
    """
    name = manifest_name(stage.label)
    if stage.reason == FORCED or store.stat(name) is None:
        return None
    manifest = Manifest.load(store.read(name))
    if manifest is None or manifest.key != stage.key:
        return None
    for product in manifest.products:
        found = store.stat(product.name)
        if found is None or (found.size, found.stamp) != (product.size, product.stamp):
            return None
    return tuple(product.name for product in manifest.products)


@cache
def versions() -> dict[str, str]:
    """Return the versions of the packages that shape products."""
    found = {"python": platform.python_version(), "calservice": __version__}
    for name in _PACKAGES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


def _calibrate(stage: Stage, job: Job, primary: Path, out: Path, saver: Saver) -> tuple[StepOutcome, ...]:
    """Run the pipeline; return what became of its steps."""
    from calservice.references import pinned
    from calservice.references.cache import confirm

    os.environ["STPIPE_DISABLE_CRDS_STEPPARS"] = "true"  # the plan has settled all parameters
    if job.context:
        pinned.install(Path(job.cache), job.context)
        confirm(Path(job.cache), stage.references)
    for name, value in stage.origins.items():
        log.info("parameter %s from %s", name, value)
    if "native" in stage.engines.values() or stage.pipeline not in _official_paths():
        from calservice.run import recipe

        return recipe.run(stage, primary, out, job.threads, saver)
    seconds = execute.call(_official_paths()[stage.pipeline], primary, stage.parameters, out, logs.place.enter)
    return settled(stage.engines, seconds, _recorded_steps(out))


def _official_paths() -> dict[str, str]:
    from calservice.engines import official

    if not official.available():
        return {}
    return {alias: entry.path for alias, entry in official.catalog().entries.items()}


# -- inputs


def _gather(stage: Stage, store: Store, folder: Path, made: Mapping[str, str]) -> tuple[Path, list[Path]]:
    """Bring all inputs, and the association that names them, into one folder; return the one to run on, and all."""
    folder.mkdir(parents=True)
    brought = [_bring(item, store, folder, made) for item in stage.inputs]
    for item, path in zip(stage.inputs, brought, strict=True):
        size = path.stat().st_size
        if item.file is not None and size != item.file.size:
            raise InputError(
                f"{shown(item.file.url)}: its length changed from {item.file.size} to {size} since planning"
            )
    if stage.association is None:
        return folder / _plain(stage.inputs[0].name), brought
    products = [
        {**product, "members": [{**m, "expname": _plain(m["expname"])} for m in product["members"]]}
        for product in stage.association["products"]
    ]
    primary = folder / (stage.asn_filename or f"{stage.product}_asn.json")
    primary.write_text(json.dumps({**stage.association, "products": products}, indent=2))
    return primary, brought


def _plain(name: str) -> str:
    """Return the name under which a file is opened: what is compressed is known by its content, outputs by names."""
    return name.removesuffix(".gz")


def _bring(item: Input, store: Store, folder: Path, made: Mapping[str, str]) -> Path:
    target = folder / _plain(item.name)
    if target.exists():
        return target
    if item.name in made:
        target.symlink_to(made[item.name])
        return target
    if item.file is not None:
        found = Store(parent_of(item.file.url)).fetch(item.file.name, folder)
        return found if found == target else found.rename(target)
    if store.stat(item.name) is None:
        raise InputError(f"{shown(store.join(item.name))} is not there, though {item.source} was to make it")
    return store.fetch(item.name, folder)


# -- products


def _redirected(stage: Stage, out: Path) -> tuple[Stage, dict[str, str]]:
    """Have steps with a folder of their own write below ``out``; return also what those folders stand for.

    The folder of the pipeline itself is where its products are published.
    """
    steps = {name: dict(values) for name, values in stage.parameters.get("steps", {}).items()}
    folders: dict[str, str] = {}
    for values in steps.values():
        if values.get("output_dir"):
            inside = f".folder-{len(folders)}"
            folders[inside] = values["output_dir"]
            values["output_dir"] = str(out / inside)
    own = {name: value for name, value in stage.parameters.items() if name not in ("output_dir", "steps")}
    return stage.but(parameters={**own, "steps": steps} if steps else own), folders


def _files(out: Path, folders: Mapping[str, str]) -> dict[str, Path]:
    """Return what was made, by the names under which it is to be published."""
    found = {}
    for path in sorted(p for p in out.rglob("*") if p.is_file() and not p.name.startswith(".")):
        first, *rest = path.relative_to(out).parts
        found[PurePosixPath(folders.get(first, first), *rest).as_posix()] = path
    return found


def _records(
    stage: Stage, brought: Sequence[Path], files: Mapping[str, Path], sums: Mapping[Path, str]
) -> tuple[tuple[InputRecord, ...], tuple[Product, ...]]:
    """Return what the manifest tells of the inputs and of the products."""
    inputs = tuple(
        InputRecord(
            name=item.name,
            role=item.role,
            url="" if item.file is None else shown(item.file.url),
            size=path.stat().st_size,
            stamp="" if item.file is None else item.file.stamp,
            blake3=sums[path],
            key=item.key,
        )
        for item, path in zip(stage.inputs, brought, strict=True)
    )
    return inputs, tuple(
        Product(name=name, size=path.stat().st_size, blake3=sums[path]) for name, path in sorted(files.items())
    )


def _recorded_steps(out: Path) -> dict[str, set[str]]:
    """Read from the products' metadata what is recorded of each step."""
    from stdatamodels.jwst.datamodels import read_metadata

    found: dict[str, set[str]] = {}
    for path in out.rglob("*.fits"):
        try:
            meta = read_metadata(path, flatten=True)
        except (OSError, ValueError, KeyError):
            continue
        for name, value in meta.items():
            if name.startswith("meta.cal_step.") and value:
                found.setdefault(official_alias(name.rpartition(".")[2]), set()).add(str(value))
    return found


def _manifest(
    stage: Stage,
    job: Job,
    outcome: Outcome,
    started: str,
    inputs: tuple[InputRecord, ...],
    products: tuple[Product, ...],
) -> Manifest:
    return Manifest(
        key=stage.key,
        recipe_key=stage.recipe_key,
        stage=stage.id,
        pipeline=stage.pipeline,
        product=stage.product,
        association=stage.asn_filename,
        started=started,
        seconds=outcome.seconds,
        peak_memory=outcome.peak_memory,
        host=outcome.host,
        inputs=inputs,
        references=tuple(ReferenceRecord(reftype=r.reftype, name=r.name, sha1=r.sha1) for r in stage.references),
        context=job.context,
        parameters=dict(stage.parameters),
        origins=dict(stage.origins),
        engines=dict(stage.engines),
        versions=versions(),
        steps=tuple(
            StepRecord(alias=s.alias, engine=s.engine, status=s.status, seconds=s.seconds) for s in outcome.steps
        ),
        products=products,
    )


def _publish(store: Store, stage: Stage, files: Mapping[str, Path], log_path: Path, manifest: Manifest) -> None:
    """Publish products and log, then the manifest; retire products of an earlier run that are no more."""

    def published(name: str) -> FileStat:
        return store.publish(places[name], name)

    name = manifest_name(stage.label)
    earlier = Manifest.load(store.read(name)) if store.stat(name) is not None else None
    if earlier is not None:
        store.remove(name)  # from here on the old manifest would vouch for files that are being replaced
    places = {**files, log_path.name: log_path}
    with ThreadPoolExecutor(_PUBLISHED_AT_A_TIME) as pool:  # which is waiting for disks and networks
        stamps = {name: found.stamp for name, found in zip(places, pool.map(published, places), strict=True)}
    stamped = tuple(product.model_copy(update={"stamp": stamps[product.name]}) for product in manifest.products)
    store.write(manifest.model_copy(update={"products": stamped}).dump(), name)
    for stale in {p.name for p in earlier.products} - {p.name for p in manifest.products} if earlier else ():
        store.remove(stale)


def _publish_log(store: Store | None, log_path: Path, outcome: Outcome) -> Outcome:
    """Put the log of a failure beside where the products would be; its own failure must not hide the first one."""
    if store is not None and log_path.exists():
        with contextlib.suppress(CalserviceError):
            store.publish(log_path, log_path.name)
            return outcome
    return replace(outcome, log="")


# -- surroundings


def _place(stage: Stage, job: Job) -> logs.Place:
    exposure = stage.product if stage.association is None or 0 < stage.level < 3 else ""
    return logs.Place("" if job.id == "run" else job.id, stage.asn_filename.removesuffix(".json"), exposure)


def _shown(job: Job, folder: Path, also: Sequence[logging.Handler]) -> list[logging.Handler]:
    """Return where records go beside the log of the stage: what the user sees is a file that the worker follows."""
    if job.show_level is None:
        return [*also]
    handler = logging.FileHandler(folder / logs.Tail.NAME, "a", "utf-8")
    handler.setLevel(job.show_level)
    handler.setFormatter(logs.layout())
    return [*also, handler]


@contextlib.contextmanager
def _beside(primary: Path, out: Path) -> Iterator[None]:
    """Work in the folder of the inputs, where official steps look for members; what they write there is a product."""
    before, inputs = os.getcwd(), set(primary.parent.iterdir())
    os.chdir(primary.parent)
    try:
        yield
        for extra in set(primary.parent.iterdir()) - inputs:
            extra.rename(out / extra.name)
    finally:
        os.chdir(before)


def _note_failure(path: Path, fault: BaseException, job: Job) -> None:
    with open(path, "a", encoding="utf-8") as file:
        file.write("".join(traceback.format_exception(fault)))
    if job.debug:
        import pdb

        pdb.post_mortem(_innermost(fault).__traceback__)


def _innermost(fault: BaseException) -> BaseException:
    while fault.__cause__ is not None:
        fault = fault.__cause__
    return fault


def _measured(outcome: Outcome, begun: float) -> Outcome:
    unit = 1 if sys.platform == "darwin" else 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    return replace(outcome, seconds=round(time.monotonic() - begun, 3), peak_memory=peak)
