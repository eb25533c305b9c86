"""A profile: the policies that decide for the pods of one ``schedulerName``."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import orjson

from kubernel.plugin.scheduling import Policy, overrides
from kubernel_plugins.scheduler.default.cycle import Evaluation, Weighed

if TYPE_CHECKING:
    from kubernel.plugin.gangs import Gang
    from kubernel.plugin.scheduling import Context, PodState, PolicyFactory
    from kubernel_plugins.scheduler.default.configuration import ProfileSettings
    from kubernel_plugins.scheduler.default.table import NodeTable

__all__ = ["Profile"]

_EVALUATIONS = 256
"""Remembered at a time, by signature."""


def _together(texts: Sequence[str]) -> str:
    return texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]"


class Profile:
    """Its policies by extension point, and what they last said of each kind of pod."""

    def __init__(
        self,
        settings: ProfileSettings,
        factories: Sequence[PolicyFactory],
        context: Context,
        table: NodeTable,
    ) -> None:
        """ValueError for arguments that a policy does not take."""
        self.scheduler_name = settings.scheduler_name
        chosen = {each.name for point in settings.points.values() for each in point}
        self.policies: dict[str, Policy] = {}
        wrong: list[str] = []
        for factory in factories:
            if factory.name in chosen:
                wrong += self._build(factory, settings, context)
        if wrong:
            raise ValueError(_together(wrong))
        self._points: Mapping[str, list[Policy]] = {
            point: [self.policies[each.name] for each in there] for point, there in settings.points.items()
        }
        self._scorers = [Weighed(self.policies[each.name], each.weight) for each in settings.points["score"]]
        self._signing = list({id(p): p for p in (*self.at("filter"), *self.at("score"))}.values())
        self._evaluations: OrderedDict[object, Evaluation] = OrderedDict()
        self._gangs = next((each for each in self.policies.values() if overrides(each, "gang")), None)
        self._table = table

    def _build(self, factory: PolicyFactory, settings: ProfileSettings, context: Context) -> Sequence[str]:
        """What is wrong with the policy's arguments, told of with the configuration; ValueError for what is not."""
        name = factory.name
        args, path = settings.arguments.get(name, {}), settings.paths.get(name, "")
        decoding = (
            f"strict decoding error: decoding .{path}: strict decoding error: decoding args for plugin {name}"
        )
        if unknown := sorted(args.keys() - factory.build.arguments):
            told = ", ".join(f'unknown field "{each}"' for each in unknown)
            raise ValueError(f"{decoding}: strict decoding error: {told}")
        try:
            self.policies[name] = factory.build(args, context)
        except (TypeError, KeyError) as error:
            raise ValueError(f"{decoding}: {error}") from error
        except ValueError as error:
            texts = [str(each) for each in error.args]
            if not factory.build.judges_late:
                return [f"{path}.args.{each}" for each in texts]
            making = f"initializing profiles: creating profile for scheduler name {settings.scheduler_name}"
            raise ValueError(f'{making}: initializing plugin "{name}": {_together(texts)}') from error
        return ()

    def at(self, point: str) -> Sequence[Policy]:
        """The policies of an extension point, in order."""
        return self._points[point]

    def gang(self, pod: PodState) -> tuple[Policy, Gang] | None:
        """With whom the pod is placed, and the policy that says so."""
        if self._gangs is None or (found := self._gangs.gang(pod)) is None:
            return None
        return self._gangs, found

    def sort_key(self, pod: PodState) -> tuple[Any, ...]:
        return self._points["sort_key"][0].sort_key(pod)

    def gates(self, pod: PodState) -> list[Policy]:
        """The policies that do not let the pod into the queue."""
        return [policy for policy in self._points["pre_enqueue"] if policy.pre_enqueue(pod)]

    def signature(self, pod: PodState) -> object:
        """Equal for pods that are the same to all policies; the uid when one of them does not know."""
        parts = []
        for policy in self._signing:
            part = policy.sign(pod)
            if part is NotImplemented:
                return pod.uid
            parts.append(part)
        return self.scheduler_name, pod.priority, orjson.dumps(parts, option=orjson.OPT_SORT_KEYS)

    @property
    def weights(self) -> Mapping[str, int]:
        """Of the policies that score."""
        return {each.policy.name: each.weight for each in self._scorers}

    def new_evaluation(self) -> Evaluation:
        """One that is not remembered."""
        return Evaluation(self.at("filter"), self._scorers, self._table)

    def evaluation(self, signature: object) -> Evaluation:
        found = self._evaluations.get(signature)
        if found is None:
            found = self._evaluations[signature] = self.new_evaluation()
            if len(self._evaluations) > _EVALUATIONS:
                self._evaluations.popitem(last=False)
        else:
            self._evaluations.move_to_end(signature)
        return found
