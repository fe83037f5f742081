"""Print a config file with everything it inherits, as the tools see it."""

from mman.cli import arguments as cli
from mman.utils.errors import one_line_errors


def build_parser():
    """The arguments of this tool."""
    parser = cli.config_parser(__doc__)
    text = 'new .py file to write the config to as well'
    parser.add_argument('--save-path', type=cli.new_file('.py'), help=text)
    return parser


def main() -> None:
    """Print the config, and save it if a place is given."""
    parser = build_parser()
    args = parser.parse_args()
    with one_line_errors(parser):
        from mman import apis
        from mman.apis.places import write_errors

        cfg = apis.load_config(args.config, args.cfg_options)
        print(cfg.pretty_text)
        if args.save_path:
            with write_errors(args.save_path):
                cfg.dump(args.save_path)


if __name__ == '__main__':
    main()
