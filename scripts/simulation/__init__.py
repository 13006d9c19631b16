"""The fleet in simulated time: real policy, breaker, gate, outage detector and actors; workers,
store and WhatsApp are played.

clock        an event loop that does not wait, and a wall clock in step with it
server       WhatsApp: what it says to whom, and what it has seen
workers      worker processes (those of tests/fakes) that log in at that server
fleet        a supervisor's life: actors and gate, begun, left, killed, begun again
faults       the grammar of what may go wrong, and stories made of it
invariants   what must hold after every step
running      one story, played and judged
shrinking    a failing story, made as short as it can be
"""
