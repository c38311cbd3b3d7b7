#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Looks at the checkpoints of another program while it runs: checkpoint.c or checkpoint_nonblocking.c.

    watch.py POOL [STEP]

Prints a line for each checkpoint as soon as it is final, until the one after STEP. Nobody has to know of it, nobody waits
for it, and it asks for nothing: the library wakes it. What it looks at stays as it is, since its handle refers to it.
"""
import asyncio
import struct
import sys

import numpy as np
import tiercel

PLATE, ABOUT = 1, 2  # the objects of checkpoint.c


async def watch(cont: tiercel.Container, last: int) -> None:
    async for epoch in cont.committed(after=0):
        then = cont.at(epoch)
        step, = struct.unpack("=Q", then.kv(ABOUT)["step"])
        plate = np.frombuffer(then.array(PLATE).read())
        print(f"epoch {epoch}, step {step}: {plate.mean():.6f} degrees on average", flush=True)
        cont.slip(epoch + 1)  # what is older may be given back
        if step == last:
            return


def main() -> None:
    uri, last = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 0
    with tiercel.connect(uri, "r") as pool, pool.open("heat", "r") as cont:
        asyncio.run(watch(cont, last))


if __name__ == "__main__":
    main()
