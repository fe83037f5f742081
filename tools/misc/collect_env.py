"""Print what results depend on besides the config: versions, git, device, environment variables."""

import argparse
import json


def build_parser() -> argparse.ArgumentParser:
    """The arguments of this tool, of which there are none."""
    return argparse.ArgumentParser(description=__doc__)


def main() -> None:
    """Print it as JSON, as it stands in reproduce.json of every training."""
    build_parser().parse_args()
    from mman.utils.environment import environment

    print(json.dumps(environment(), indent=2))


if __name__ == '__main__':
    main()
