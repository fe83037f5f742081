"""References by a name's last part, where only one thing is called so.

An object is documented under the package that offers it, while docstrings
name it by the module it is written in, or by its own name alone.
"""


def setup(app) -> dict:
    """Register with Sphinx."""
    from sphinx.util.nodes import make_refnode

    def resolve(app, env, node, contnode):
        if node.get('refdomain') != 'py':
            return None
        last = node['reftarget'].rpartition('.')[2]
        # One thing may have two names: that of its package, and that of its module.
        places = {
            (entry.docname, entry.node_id)
            for name, entry in env.get_domain('py').objects.items()
            if name.rpartition('.')[2] == last
        }
        if len(places) != 1:
            return None
        ((page, anchor),) = places
        return make_refnode(app.builder, node.get('refdoc', page), page, anchor, contnode)

    app.connect('missing-reference', resolve)
    return dict(parallel_read_safe=True)
