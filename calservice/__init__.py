"""calservice: the JWST Science Calibration Pipeline as a distributed batch service.

The map, in the order in which imports may point (each package imports only from those above it)::

    model/        the nouns: Step, Reach, Block, Recipe, Association, Plan, Manifest; no I/O, no dask
    disk          arrays that stay in files: windows of them are read and written
    steps/        native steps, one file each (Params + kernel + STEP); steps.registry is the registry
    recipes       the ordered steps of each pipeline and mode, as data
    references/   selection with crds, the shared cache, loading     (imports model and disk only)
    products/     URLs, product names, manifests, publication        (imports model only)
    engines/      official: the steps of the jwst package as Step values; spec: parameters in stpipe's language
    plan/         expand, resolve, cut, explain: pure, never touches a pixel
    run/          one task (stage), the child process it runs in, local and cluster executors
    engines.strun and strun_base, the class names of steps and pipelines: our steps as stpipe classes
    simulate/     small programs with known truth, and their references and CRDS context
    kernels       compiles the native kernels ahead of use
    describe      names and parameters of pipelines and steps; needs: the references of a job
    report        what a terminal shows (with report_compare, report_references); report_html: what notebooks show
    service/      jobs: plan, check, run; in the background; by two engines, compared
    single        one pipeline or step, as strun runs it
    client        `Client`: jobs from Python
    cli           thin

Classes of steps are above ``run`` because a class runs its step; they stand where users look for them
(``calservice.steps.LinearityStep``) and are made at first use. Only ``run.cluster`` imports dask, and only
``engines`` imports jwst.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from calservice.client import Client

__all__ = ["Client", "__version__"]

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """Import what is public when it is asked for."""
    if name == "Client":
        from calservice.client import Client

        return Client
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
