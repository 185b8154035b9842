"""The commands, one module each: HELP, DESCRIPTION, `configure(parser)` and `run(args) -> int`."""
