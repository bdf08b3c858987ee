"""Native calibration steps: one file each, and the one registry of them (`calservice.steps.registry`)."""
