"""`marquee serve bundle=bundles/world port=3000`: serves a bundle over HTTP, by `bentoml serve`.

Every key but `host` and `port` is a setting of the service: `keys=keys.json` is `MARQUEE_KEYS=keys.json`. The
service itself refuses a name that it does not know. Flags go to `bentoml serve` as they are.
"""

import os
import runpy
import sys
from collections.abc import Sequence

USAGE = """marquee serve bundle=bundles/world [host=127.0.0.1] [port=3000] [setting=value …] [--flags …]

Serves a bundle over HTTP.

   bundle    folder of a bundle, or of its versions: the current one is served, and followed
   surfaces  in place of bundle: file of surfaces, e.g. examples/surfaces.yaml
   host      127.0.0.1; 0.0.0.0 for other machines
   port      3000
   …         any other setting of the service, as keys=keys.json for MARQUEE_KEYS=keys.json
   --…       flags of bentoml serve, as --api-workers 2"""
SERVICE = "serving.service:MarqueeService"
EXIT_USAGE = 2


def command_line(arguments: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """Returns the arguments of `bentoml`, and the settings as environment variables.

    Example:
        >>> command_line(["bundle=bundles/world", "port=3001"])[0]
        ['serve', 'serving.service:MarqueeService', '--host', '127.0.0.1', '--port', '3001']
        >>> command_line(["bundle=bundles/world", "port=3001"])[1]
        {'MARQUEE_BUNDLE': 'bundles/world'}
    """
    flags_from = next((n for n, given in enumerate(arguments) if given.startswith("-")), len(arguments))
    flags = list(arguments[flags_from:])
    given = dict(argument.partition("=")[::2] for argument in arguments[:flags_from])
    host, port = given.pop("host", "127.0.0.1"), given.pop("port", "3000")
    settings = {f"MARQUEE_{key.upper()}": value for key, value in given.items()}
    return ["serve", SERVICE, "--host", host, "--port", port, *flags], settings


def main(arguments: Sequence[str]) -> int:
    """Serves until it is ended; returns the exit status."""
    flags, settings = command_line(arguments)
    is_told = any(name in {**os.environ, **settings} for name in ("MARQUEE_BUNDLE", "MARQUEE_SURFACES"))
    if {"-h", "--help"} & set(arguments) or not is_told:
        print(USAGE, file=sys.stdout if is_told or "--help" in arguments else sys.stderr)
        return 0 if "--help" in arguments or "-h" in arguments else EXIT_USAGE
    os.environ.update(settings)
    # BentoML reports its use over the network unless told not to.
    os.environ.setdefault("BENTOML_DO_NOT_TRACK", "true")
    sys.argv = ["bentoml", *flags]
    runpy.run_module("bentoml", run_name="__main__", alter_sys=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
