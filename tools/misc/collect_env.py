"""Print what results depend on besides the config: versions, git, device, environment variables."""

import argparse
import json

from mman.utils.environment import environment


def main() -> None:
    """Print it as JSON, as it stands in reproduce.json of every training."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    print(json.dumps(environment(), indent=2))


if __name__ == '__main__':
    main()
