"""The rules of a model by which its workers die and come."""

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule
from plugin_models import World

MOST_WORKERS = 3


class WorkersComeAndGo(RuleBasedStateMachine):
    """A state machine about a world whose workers are killed, and started.

    Attributes:
        world: The world.
    """

    world: World

    @rule(data=st.data())
    def a_worker_dies(self, data: st.DataObject) -> None:
        number = data.draw(st.integers(0, len(self.world.living) - 1))
        self.world.do(self.world.kill_worker(number))

    @precondition(lambda self: len(self.world.living) < MOST_WORKERS)
    @rule()
    def another_worker_comes(self) -> None:
        self.world.do(self.world.start_worker())
