"""calservice: the JWST Science Calibration Pipeline as a distributed batch service.

The map, in the order in which imports may point (each package imports only from those above it)::

    model/        the nouns: Step, Reach, Block, Recipe, Association, Plan, Manifest; no I/O, no dask
    steps/        native steps, one file each (Params + kernel + STEP); steps.registry is the registry
    recipes       the ordered steps of each pipeline and mode, as data
    references/   selection with crds, the shared cache, loading     (imports model only)
    products/     URLs, product names, manifests, publication        (imports model only)
    engines/      official: the steps of the jwst package as Step values; spec: parameters in stpipe's language
    plan/         expand, resolve, cut, explain: pure, never touches a pixel
    run/          one task (stage), the child process it runs in, local and cluster executors
    engines.strun and strun_base, the class names of steps and pipelines: our steps as stpipe classes
    simulate/     small programs with known truth, and their references and CRDS context
    kernels       compiles the native kernels ahead of use
    cli           thin

The last are above ``run`` because a class runs its step; they stand where users look for them
(``calservice.steps.LinearityStep``) and are made at first use. Only ``run.cluster`` imports dask, and only
``engines`` imports jwst.
"""

__version__ = "0.1.0"
