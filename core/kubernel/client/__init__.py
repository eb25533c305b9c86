"""How every component talks to the API.

``interface``    the ``Client`` protocol
``local``        ``LocalClient``: in-process, calls the registry and reads the index with no copy
``http``         ``HttpClient``: the same over HTTPS (kubeconfig or explicit credentials)
``kubeconfig``   ``Access``: a server and credentials, explicit or from a kubeconfig file
``informer``     a shared, indexed, always-current view of a resource
``workqueue``    keys between changes and work: de-duplicated, one worker at a time for each
``reconciler``   the controller kit: per-key sequential, parallel across keys, retry with backoff
``expectations`` creations and deletions in flight
``leader``       leader election on Leases
``recorder``     the event recorder
"""

from kubernel.client.interface import Client, ObjectList

__all__ = ["Client", "ObjectList"]
