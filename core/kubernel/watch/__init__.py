"""The watch bus: one shared, append-only history and a cursor for each watcher.

``WatchBus(store)``
    ``watch(resource, namespace=None, *, name=None, field=None, since=None)`` -> ``Cursor``
        ``since`` is the revision after which events are wanted; None is "from now on". Raises
        ``TooOld`` when that part of the history is gone, ``TooNew`` when it has not come yet.
        ``field`` is an indexed field and its value, such as ``("spec.nodeName", "node-1")``:
        the bus wakes and feeds only the cursors whose namespace, name or field an event's
        old or new state has, so that 5,000 kubelets do not each look at every pod.
    ``index(resource, field, getter)``  declares an indexed field; ``getter(obj) -> str``

``Cursor``
    ``async next() -> list[Event]``   at least one event, in revision order, never one twice, never one
                            missing; raises ``TooOld`` once this watcher fell off the history's end
                            (it must list again: slow watchers never slow anyone else down),
                            ``Closed`` when the bus stops
    ``poll() -> list[Event]``  what is ready now, possibly nothing
    ``revision``            everything up to here was handed out or does not concern this cursor: what
                            a bookmark says
    ``close()``

No event is ever copied into a queue of a watcher. A cursor takes its wake-up handle before it scans.
"""

from kubernel.watch.bus import WatchBus
from kubernel.watch.cursor import Cursor
from kubernel.watch.errors import Closed, TooNew, TooOld, WatchError

__all__ = ["Closed", "Cursor", "TooNew", "TooOld", "WatchBus", "WatchError"]
