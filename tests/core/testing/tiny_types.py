"""A few resource types and controllers that need nothing of ``kubernel_plugins``, as source."""

TYPES = """
    from kubernel.plugin import Plugin, hookimpl
    from kubernel.registry.schema import Node
    from kubernel.registry.types import ResourceType


    def schema():
        node = Node("object")
        node.preserve_unknown = True
        return node


    class Types(Plugin):
        @hookimpl
        def kubernel_register_types(self, registry):
            for group, kind, plural, namespaced, short in (
                ("", "ConfigMap", "configmaps", True, ("cm",)),
                ("", "Namespace", "namespaces", False, ("ns",)),
                ("", "Event", "events", True, ("ev",)),
                ("example.com", "Widget", "widgets", True, ()),
            ):
                registry.register(
                    ResourceType(
                        group, "v1", kind, plural, schema, namespaced=namespaced, short_names=short
                    )
                )
"""

CONTROLLER = """
    from kubernel.client.reconciler import Reconciler
    from kubernel.objects import meta


    class Plugin(Reconciler):
        resource = "namespaces"
        owns = ("configmaps",)
        user = "system:serviceaccount:kube-system:owner-card-controller"

        async def reconcile(self, namespace, name):
            owner = self.primary.get(name)
            if owner is None or meta.is_deleting(owner):
                return
            metadata = {"name": "owner-card", "ownerReferences": [meta.owner_reference(owner)]}
            data = {"team": meta.labels(owner).get("team", "nobody")}
            card = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}
            await self.client.patch("configmaps", "owner-card", card, name, type="apply", force=True)
"""

TICKER = """
    from kubernel.plugin import Plugin


    class Ticker(Plugin):
        ticks = 0

        async def start(self):
            self.handle.spawn(self.work(), "ticks")

        async def work(self):
            while True:
                await self.handle.clock.sleep(60)
                self.ticks += 1
"""
