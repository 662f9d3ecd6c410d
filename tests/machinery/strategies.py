"""Hypothesis strategies and objects shared by the tests of machinery."""

from hypothesis import strategies as st

scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**40), 2**40)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=4)
)
json_values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["a", "b", "name", "metadata", "spec", "$patch", "$retainKeys"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)

names = st.sampled_from(["a", "b", "c", "d"])
texts = st.sampled_from(["x", "y", "z"])


def _named(items):
    return list({item["name"]: item for item in items}.values())


ports = st.lists(
    st.fixed_dictionaries({"containerPort": st.integers(1, 3)}, optional={"name": texts}), max_size=3
).map(lambda items: list({item["containerPort"]: item for item in items}.values()))
containers = st.lists(
    st.fixed_dictionaries(
        {"name": names},
        optional={
            "image": texts,
            "args": st.lists(texts, min_size=1, max_size=2),
            "env": st.lists(
                st.fixed_dictionaries({"name": names}, optional={"value": texts}), min_size=1, max_size=3
            ).map(_named),
            "ports": ports.filter(bool),
        },
    ),
    min_size=1,
    max_size=3,
).map(_named)
# Deployments without nulls and empty values, as they are stored.
deployments = st.fixed_dictionaries(
    {
        "metadata": st.fixed_dictionaries(
            {"name": st.just("web")},
            optional={
                "labels": st.dictionaries(names, texts, min_size=1, max_size=3),
                "finalizers": st.lists(texts, min_size=1, max_size=3, unique=True),
            },
        ),
        "spec": st.fixed_dictionaries(
            {
                "template": st.fixed_dictionaries(
                    {"spec": st.fixed_dictionaries({"containers": containers})},
                )
            },
            optional={
                "replicas": st.integers(0, 3),
                "selector": st.fixed_dictionaries(
                    {"matchLabels": st.dictionaries(names, texts, min_size=1, max_size=2)}
                ),
            },
        ),
    }
)


def deployment(**spec):
    """A Deployment as people write it."""
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web", "namespace": "default", "labels": {"app": "web"}},
        "spec": {
            "replicas": 3,
            "selector": {"matchLabels": {"app": "web"}},
            "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {
                    "containers": [{"name": "nginx", "image": "nginx:1.27", "ports": [{"containerPort": 80}]}]
                },
            },
            **spec,
        },
    }
