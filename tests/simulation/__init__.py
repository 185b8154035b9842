"""Trials: the mirror, tried with random workloads and random faults, each reproducible by its seed.

    python -m simulation --seeds 300 --jobs 2
    python -m simulation --plan trial-shell-17.json

A plan (`Plan`) is a value: the workload of a simulated Diego, and a list of faults with their times. `generated` makes
one from a seed, with some kinds of faults and not the others. `tried` plays one, in one of three ways:

- the *shell*: `open_mirror` as it is shipped, with its client, against the served Diego, over TCP in memory (see
  `network`) and on a mock clock. The faults are in the network, in the replies, in the events and around the mirror;
- the *core*: the machine in the mirror's middle alone, turn by turn. It is much faster, and has those of the faults
  that reach so far;
- the *relay*: publishers as they are shipped follow the served Diego, over the same network, and keep its state in a
  Redis in memory (see `redis`), from which the mirror reads. The faults are those of the shell, and the relay's own.

After every step the laws are checked (see `laws`): no row that the server never had, versions go back only by a list
that was believed, never live without a stream, index is scan, view is recomputation, folded changes are the state; and
at the end, when the faults are over, the mirror has the server's state within a bounded time. A plan that breaks a law
is made smaller (`shrunk`), and kept to be played again. `mutants` has bugs that the laws have to catch.

`simulation.soak` is the long run over real sockets and real time.
"""

from simulation.generate import generated
from simulation.kinds import KINDS, Kind
from simulation.laws import LawBroken
from simulation.plan import Fault, Plan, read_plan, write_plan
from simulation.run import TrialResult, tried
from simulation.shrink import shrunk

__all__ = [
    "KINDS",
    "Fault",
    "Kind",
    "LawBroken",
    "Plan",
    "TrialResult",
    "generated",
    "read_plan",
    "shrunk",
    "tried",
    "write_plan",
]
