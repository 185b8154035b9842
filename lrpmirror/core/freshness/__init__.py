"""How old the state is, and what is wrong.

In: signs of life, errors, and the time. Out: the phase and status of a mirror, how long to wait before the next try,
and when a silent stream is dead.
"""
