"""The fault harness: clients at work while the server is killed, paused and starved, and proof of what they saw.

| module | what |
| --- | --- |
| `history` | what clients did and saw, as data; kept as a file that can be judged again |
| `linearizability` | one object's model and the search for an order that explains its history |
| `validators` | one named validator a guarantee |
| `traffic` | the clients |
| `topology` | the servers under test |
| `process`, `nats_nodes` | their processes |
| `faults` | what goes wrong and when, drawn from a seed |
| `server` | a server with small limits, a slow disk and a ledger of what was synced |
| `rounds` | one round: start, traffic and faults, settle, judge |
| `gaps` | for how long nobody could write |

`python -m tests.faults --rounds N --seed S --topology T` runs it; `--judge FILE` judges a kept history again.
"""
