"""The resource registry: what kinds of objects there are, and the one way a write goes.

    decode -> default -> mutate hooks -> default -> validate (schema, strategy) -> validate hooks
    -> managed fields -> no-op check -> store

Modules: ``types`` (ResourceType, Strategy, Column, Subresource), ``request`` (Request, UserInfo, options),
``schema`` (the node tree), its walkers ``pruning`` (decoding), ``defaulting``, ``validation`` (``structural`` for
custom resources) and the quick look before them, ``fastpath``; ``patch`` (JSON, merge, strategic),
``apply`` (managed fields and server-side apply), ``selectors`` (label and field selectors),
``registry`` (``Registry``: the table of types and every operation), ``openapi`` and
``discovery`` (publishing what is served).

``Registry`` is what API servers and the in-process client call:

``register(type)``, ``unregister(type)``, ``lookup(group, version, plural)``, ``by_kind(group, version, kind)``,
``types()``, ``on_change(listener)``
``get(user, type, namespace, name, resource_version=None) -> Record``
``list(user, type, namespace, ListOptions) -> Page``    records, revision, continue token, remaining
``watch(user, type, namespace, WatchOptions) -> Watch``  selection already applied: DELETED when an object leaves it
``await create(user, type, namespace, obj, options, ...) -> Result``
``await update(user, type, namespace, name, obj, options, subresource) -> Result``
``await patch(user, type, namespace, name, patch_type, body, options, subresource) -> Result``
``await delete(user, type, namespace, name, DeleteOptions) -> Result``
``await delete_collection(user, type, namespace, ListOptions, DeleteOptions) -> list[Record]``

Records are in the storage version; ``convert(record, type) -> bytes`` gives the requested version's bytes,
the stored ones when they are the same.
Authorization is not the registry's: who calls has authorized ``user`` for what it asks.
"""
