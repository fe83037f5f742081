"""Print how a config cuts its network into local blocks, and what each costs."""

from mman.cli import arguments as cli
from mman.utils.errors import one_line_errors


def build_parser():
    """The arguments of this tool."""
    return cli.config_parser(__doc__)


def main() -> None:
    """Print the block table and the totals."""
    parser = build_parser()
    args = parser.parse_args()
    with one_line_errors(parser):
        from mman import apis
        from mman.analysis.splits import split_text

        print(split_text(apis.load_config(args.config, args.cfg_options)))


if __name__ == '__main__':
    main()
